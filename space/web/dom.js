// Small things that every part of the page uses.

export const $ = (selector) => document.querySelector(selector);

/** An element with properties and children; text is never read as HTML. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Text for the visitor in a line of its own; `kind` is "", "trouble" or "reveal". */
export function tell(place, text, kind = "") {
  place.textContent = text;
  place.className = `note ${kind}`;
}

/** "70 %" */
export const percent = (share) => `${Math.round(share * 100)} %`;

/** "18.2 tokens/s, first in 0.9 s" */
export function pace({tokens, first, seconds}) {
  if (tokens < 2 || seconds <= first) return "";
  return `${((tokens - 1) / (seconds - first)).toFixed(1)} tokens/s, first in ${first.toFixed(1)} s`;
}
