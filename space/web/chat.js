// The conversation: any persona may go on where the last one stopped.
import {$, element, pace, tell} from "./dom.js";

export class Chat {
  constructor(engine, voices) {
    [this.engine, this.voices, this.messages, this.running] = [engine, voices, [], null];
    $("#ask").addEventListener("submit", (event) => { event.preventDefault(); this.send($("#message").value); });
    $("#message").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      $("#ask").requestSubmit();
    });
    $("#stop").addEventListener("click", () => this.running?.abort());
    $("#retry").addEventListener("click", () => this.retry());
    $("#clear").addEventListener("click", () => this.clear());
    this.suggest();
    this.#buttons();
    this.engine.warm(this.messages, this.voices.mix);
  }

  /** After another persona was chosen, or another mix: what was said so far is read again, once the choice stands. */
  switched() {
    this.suggest();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.running || this.engine.warm(this.messages, this.voices.mix), 400);
  }

  /** Shows the chosen persona's own suggestions while nothing has been said. */
  suggest() {
    const prompts = this.voices.persona?.prompts ?? this.voices.site.personas[0]?.prompts ?? [];
    const shown = this.messages.length ? [] : prompts.slice(0, 4);
    $("#suggestions").replaceChildren(
      ...shown.map((text) => element("button", {type: "button", onclick: () => this.send(text)}, text)),
    );
  }

  send(text) {
    if (!text.trim() || this.running) return;
    $("#message").value = "";
    this.messages.push({role: "user", content: text.trim()});
    $("#log").append(element("div", {className: "message user"}, text.trim()));
    this.#answer();
  }

  retry() {
    if (this.running) return;
    if (this.messages.at(-1)?.role === "assistant") this.messages.pop();
    while ($("#log").lastElementChild && !$("#log").lastElementChild.classList.contains("user")) $("#log").lastElementChild.remove();
    if (this.messages.length) this.#answer();
  }

  clear() {
    this.running?.abort();
    this.messages = [];
    $("#log").replaceChildren();
    this.suggest();
    this.#buttons();
  }

  async #answer() {
    const mix = this.voices.mix;
    const said = element("div", {className: "said waiting"}, "…");
    const by = element("p", {className: "by"}, this.voices.describe(mix));
    const answer = element("div", {className: "message bot"}, said, by);
    $("#log").append(answer);
    this.running = new AbortController();
    const {signal} = this.running;
    this.suggest();
    this.#buttons();
    const messages = this.messages;
    try {
      const onText = (text) => { said.classList.remove("waiting"); said.textContent = text; this.#follow(); };
      const found = await this.engine.ask(messages.map(({role, content}) => ({role, content})), mix, {onText, signal});
      said.classList.remove("waiting");
      said.textContent = found.text || "(nothing)";
      if (found.reason === "length") by.append(", cut at its longest");
      if (found.reason === "aborted") by.append(", stopped");
      if (found.text && messages === this.messages) messages.push({role: "assistant", content: found.text});
      tell($("#speed"), pace(found));
    } catch (error) {
      answer.replaceChildren(element("p", {className: "note trouble"}, error.message));
    }
    if (signal === this.running?.signal) this.running = null;
    this.#buttons();
    this.#follow();
  }

  #follow() {
    $("#log").scrollTop = $("#log").scrollHeight;
  }

  #buttons() {
    $("#log").dataset.empty = this.messages.length ? "" : "Nothing has been said yet.";
    $("#send").disabled = $("#stop").disabled = false;
    $("#send").disabled = Boolean(this.running);
    $("#stop").disabled = !this.running;
    $("#retry").disabled = Boolean(this.running) || !this.messages.length;
    $("#clear").disabled = !this.messages.length;
  }
}
