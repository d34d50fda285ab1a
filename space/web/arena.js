// Base against persona, blind: sides are drawn by lot, and nothing is shown before both answers are complete.
import {$, element, tell} from "./dom.js";
import {add, counts, forget, votes} from "./votes.js";

const KEYS = {ArrowLeft: "left", ArrowRight: "right", t: "tie", n: "both_bad"};
const SIDES = ["left", "right"];
const THANKS = {left: "You chose A.", right: "You chose B.", tie: "A tie.", both_bad: "Both bad."};

export class Arena {
  constructor(engine, voices) {
    [this.engine, this.voices, this.battle] = [engine, voices, null];
    const personas = engine.site.personas;
    $("#rival").append(
      ...(personas.length > 1 ? [element("option", {value: ""}, "drawn by lot")] : []),
      ...personas.map(({name, title}) => element("option", {value: name}, title)),
    );
    $("#prompt").placeholder = personas[0]?.prompts[0] ?? "Sell me an umbrella.";
    $("#battle").addEventListener("submit", (event) => { event.preventDefault(); this.start($("#prompt").value.trim()); });
    for (const button of this.#buttons) button.addEventListener("click", () => this.vote(button.dataset.verdict));
    $("#stop-battle").addEventListener("click", () => this.running?.abort());
    document.addEventListener("keydown", (event) => this.#key(event));
    $("#save-votes").addEventListener("click", save);
    $("#forget-votes").addEventListener("click", () => { if (confirm("Delete all votes of this browser?")) { forget(); this.#record(); } });
    this.#record();
  }

  get #buttons() {
    return [...document.querySelectorAll("#votes button")];
  }

  async start(prompt) {
    if (!prompt || $("#fight").disabled) return;
    const personas = this.engine.site.personas;
    const rival = $("#rival").value || personas[lot(personas.length)].name;
    const sides = lot(2) ? {left: "base", right: rival} : {left: rival, right: "base"};
    this.battle = null;
    this.running = new AbortController();
    const {signal} = this.running;
    this.#writing(true);
    this.#open(false);
    for (const side of SIDES) this.#plate(side, "");
    try {
      // Asked in an order drawn by lot, too, so that no wait gives a side away.
      const texts = {};
      for (const side of lot(2) ? SIDES : [...SIDES].reverse()) {
        const number = Object.keys(texts).length + 1;
        const mix = sides[side] === "base" ? {} : {[sides[side]]: 1};
        const limit = personas.find(({name}) => name === rival).max_tokens;
        const onText = (text) => tell($("#verdict"), `Answer ${number} of 2 is being written: ${text.split(/\s+/).length} words…`);
        tell($("#verdict"), `Answer ${number} of 2 is being written…`);
        texts[side] = (await this.engine.ask([{role: "user", content: prompt}], mix, {onText, signal, max_tokens: limit})).text;
      }
      if (signal.aborted) tell($("#verdict"), "Stopped.");
      else this.#shown({prompt, sides, texts});
    } catch (error) {
      tell($("#verdict"), error.message, "trouble");
    }
    this.#writing(false);
  }

  vote(winner) {
    if (!this.battle) return;
    const {prompt, sides, texts} = this.battle;
    const revision = (side) => this.voices.named.get(sides[side])?.revision ?? "";
    const kept = add({
      ...sides, winner, prompt, left_text: texts.left, right_text: texts.right,
      left_revision: revision("left"), right_revision: revision("right"),
    });
    this.battle = null;
    this.#open(false);
    this.#reveal(sides);
    const note = kept ? "" : " This browser keeps nothing: download the votes before you leave.";
    tell($("#verdict"), `${THANKS[winner]} A was ${this.voices.title(sides.left)}, B was ${this.voices.title(sides.right)}.${note}`, "reveal");
    this.#record();
  }

  #shown(battle) {
    for (const side of SIDES) $(`#${side} .said`).textContent = battle.texts[side] || "(nothing)";
    if (battle.texts.left === battle.texts.right) {
      this.#reveal(battle.sides);
      tell($("#verdict"), "Both said the same, so there is nothing to vote on. Try another prompt.", "trouble");
      return;
    }
    this.battle = battle;
    this.#open(true);
    tell($("#verdict"), "Which answer is better?");
  }

  #reveal(sides) {
    for (const side of SIDES) this.#plate(side, this.voices.title(sides[side]), this.voices.named.get(sides[side])?.revision);
  }

  #plate(side, name, revision = "") {
    $(`#${side} .plate`).classList.toggle("known", Boolean(name));
    $(`#${side} .plate span`).replaceChildren(name, ...(revision ? [element("code", {}, revision)] : []));
    if (!name) $(`#${side} .said`).textContent = "";
  }

  #writing(now) {
    $("#fight").disabled = now;
    $("#stop-battle").disabled = !now;
  }

  #open(voting) {
    for (const button of this.#buttons) button.disabled = !voting;
  }

  #key(event) {
    const typing = event.target.closest?.("input, textarea, select, [role=tab], [tabindex]"); // or scrolling
    const verdict = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey || !verdict || !this.battle || $("#arena").hidden) return;
    event.preventDefault();
    this.vote(verdict);
  }

  #record() {
    const table = counts();
    const head = ["Persona", "Won", "Lost", "Tied", "Both bad"].map((text) => element("th", {scope: "col"}, text));
    const rows = [...table].map(([name, {won, lost, tied, bad}]) =>
      element("tr", {}, ...[this.voices.title(name), won, lost, tied, bad].map((cell) => element("td", {}, String(cell)))));
    $("#record").hidden = !rows.length;
    $("#record table").replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
  }
}

/** A whole number below `limit`, by lot. */
const lot = (limit) => crypto.getRandomValues(new Uint32Array(1))[0] % limit;

function save() {
  const file = new Blob([`${JSON.stringify(votes(), null, 1)}\n`], {type: "application/json"});
  const link = element("a", {href: URL.createObjectURL(file), download: "votes.json"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
