// Who answers: the base or a persona, how much of it, and a second voice mixed in.
import {$, element, percent} from "./dom.js";

const BASE = "base";

export class Voices {
  /** `onChange` is called after every change. */
  constructor(site, onChange) {
    this.site = site;
    this.named = new Map(site.personas.map((persona) => [persona.name, persona]));
    const name = site.personas[0]?.name ?? BASE;
    $("#voices .gallery").append(...site.personas.map((one) => card(one, one.name === name)), card(base(site), name === BASE));
    $("#second").append(element("option", {value: ""}, "nobody"));
    $("#second-row").hidden = site.personas.length < 2;
    $("#voices").addEventListener("input", () => { this.#show(); onChange(); });
    this.#show();
  }

  get chosen() {
    return $("#voices input[name=persona]:checked").value;
  }

  /** The chosen persona; undefined for the base. */
  get persona() {
    return this.named.get(this.chosen);
  }

  /** How much of each persona, by name; empty for the base. */
  get mix() {
    if (!this.persona) return {};
    const first = {[this.chosen]: Number($("#strength").value) / 100};
    return $("#second").value ? {...first, [$("#second").value]: Number($("#second-strength").value) / 100} : first;
  }

  /** "Email copywriter, 70 %" */
  describe(mix = this.mix) {
    const parts = Object.entries(mix).map(([name, share]) => {
      const title = this.title(name);
      return share === 1 && Object.keys(mix).length === 1 ? title : `${title} ${percent(share)}`;
    });
    return parts.join(" + ") || this.title(BASE);
  }

  title(name) {
    return this.named.get(name)?.title ?? "Base model";
  }

  #show() {
    const own = this.chosen;
    $(".mix").hidden = !this.persona;
    const second = $("#second").value;
    const others = this.site.personas.filter(({name}) => name !== own);
    $("#second").replaceChildren(
      element("option", {value: ""}, "nobody"),
      ...others.map(({name, title}) => element("option", {value: name}, title)),
    );
    $("#second").value = others.some(({name}) => name === second) ? second : "";
    $("#strength-shown").value = `${$("#strength").value} %`;
    $("#second-shown").value = `${$("#second-strength").value} %`;
    for (const one of [$("#second-strength"), $("label[for=second-strength]")]) one.hidden = !$("#second").value;
  }
}

const base = (site) => ({name: BASE, title: "Base model", voice: `${site.base.name}, without a persona.`, revision: ""});

function card({name, title, voice, revision}, checked) {
  const input = element("input", {type: "radio", name: "persona", value: name, checked});
  const label = element("label", {}, input, element("span", {className: "title"}, title), element("span", {}, voice));
  const made = element("div", {className: "card"}, label);
  if (revision) made.append(element("code", {}, revision));
  return made;
}
