// llama.cpp in the browser (wllama): one load has the base and every persona; each request says how much of whom.
import {Wllama} from "./wllama/index.js";
import {load} from "./files.js";
import {fewer, newest, render, sampling} from "./prompt.js";

const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const TOO_LONG = "That is too long for this model. Write less.";
const BROWSERS = "Chrome or Edge 133, Firefox 134, or newer";

/** Why this browser cannot run a model, in a sentence; empty if it can. */
export function obstacle() {
  if (typeof WebAssembly !== "object") return `This browser has no WebAssembly, or it is switched off. ${BROWSERS} have it.`;
  if (!WebAssembly.validate(new Uint8Array(SIMD))) return `This browser's WebAssembly is too old (no SIMD). ${BROWSERS} work.`;
  try {
    new WebAssembly.Memory({address: "i64", initial: 1n});
  } catch {
    return `This browser's WebAssembly has no 64-bit memory. ${BROWSERS} have it.`;
  }
  return "";
}

/** Threads to compute with: several only where the page is isolated from other sites; `?threads=1` overrides. */
export function threads() {
  if (!self.crossOriginIsolated) return 1;
  const wanted = Number(new URLSearchParams(location.search).get("threads"));
  if (wanted >= 1) return Math.min(wanted, 16);
  const cores = navigator.hardwareConcurrency || 1;
  return Math.max(1, Math.min(8, cores <= 4 ? cores : Math.ceil(cores / 2)));
}

export class Engine {
  /** `site` is personas.json. */
  constructor(site) {
    this.site = site;
    this.files = [site.base, ...site.personas];
    this.turn = Promise.resolve();
  }

  /** Fetches what is missing and starts. `onBytes(n)`: n more bytes are here; `onStart()`: all are. */
  async start(onBytes, onStart) {
    const others = new AbortController();
    const [base, ...adapters] = await Promise.all(this.files.map((file) => load(file, onBytes, others.signal))).catch((error) => {
      others.abort();
      throw error;
    });
    onStart();
    const began = performance.now();
    this.llama = new Wllama({default: "./wllama/wllama.wasm"}, {logger: this.#logger()});
    this.llama.setCompat(null); // its fallback for older browsers is fetched from another site
    const [model, ...voices] = await Promise.all([base, ...adapters].map(hold));
    mount(this.llama, voices.map((blob, place) => ({blob, name: `lora-${place}.gguf`})));
    try {
      await this.llama.loadModel([model], {
        n_ctx: this.site.context,
        n_parallel: 1,
        n_gpu_layers: 0,
        n_threads: threads(),
        warmup: false, // reading a prompt does the same a moment later, and the page can be used meanwhile
        log_level: 4,
        lora_adapters: adapters.map((_, place) => ({path: `models/lora-${place}.gguf`, scale: 0})),
      });
    } catch (error) {
      throw new Error(this.#explained(error));
    } finally {
      for (const file of [model, ...voices]) file.bytes = undefined;
    }
    this.startup = performance.now() - began;
    this.threads = this.llama.getNumThreads();
  }

  /**
   * Asks; requests wait for each other. `mix` is how much of each persona, by name: {"email-copy": 1}; {} is the base.
   * Resolves to {text, tokens, first, seconds, reason}: first and seconds are seconds, reason is stop, length or aborted
   * (by `signal`: at once, whatever it waits for).
   */
  ask(messages, mix, {onText = () => {}, signal, ...options} = {}) {
    this.warming?.abort();
    const said = {text: "", tokens: 0, first: 0, seconds: 0, reason: "aborted"};
    const asked = this.turn.then(() => this.#ask(said, messages, mix, onText, signal, options));
    this.turn = asked.catch(() => {});
    const left = new Promise((resolve) => {
      if (signal?.aborted) resolve();
      else signal?.addEventListener("abort", resolve, {once: true});
    });
    return Promise.race([asked, left.then(() => ({...said, text: said.text.trim(), reason: "aborted"}))]);
  }

  /** Reads what the next prompt begins with, so that its answer begins sooner; gives way to a question. */
  warm(messages, mix) {
    this.warming?.abort();
    const {signal} = (this.warming = new AbortController());
    const prompt = render(this.site.chat, newest(messages, this.site.context / 2), "user");
    const read = () => signal.aborted || this.llama.createCompletion({prompt, max_tokens: 0, lora: this.lora(mix), abortSignal: signal});
    this.turn = this.turn.then(read).catch(() => {});
    return this.turn;
  }

  async #ask(said, messages, mix, onText, signal, options) {
    const voice = this.#voice(mix);
    const limit = options.max_tokens ?? voice?.max_tokens ?? 256;
    const fitting = newest(messages, this.site.context - limit);
    if (signal?.aborted) return said;
    this.complaint = "";
    const began = performance.now();
    const onData = (part) => {
      const {text, finish_reason: reason} = part.choices[0] ?? {};
      said.seconds = (performance.now() - began) / 1000;
      if (reason) said.reason = reason;
      if (part.usage) said.tokens = part.usage.completion_tokens;
      else if (text) said.tokens += 1;
      if (!text || signal?.aborted) return;
      said.first ||= said.seconds;
      onText((said.text += text));
    };
    try {
      await this.llama.createCompletion({
        prompt: render(this.site.chat, fitting),
        ...sampling(this.site.sampling, voice?.sampling),
        repeat_last_n: this.site.context, // as vLLM's penalty, which counts every token
        seed: Math.floor(Math.random() * 2 ** 31),
        stop: [this.site.chat.end],
        ...options,
        max_tokens: limit,
        lora: this.lora(mix),
        stream: true,
        onData,
        abortSignal: signal,
      });
    } catch (error) {
      if (error.name !== "AbortError") {
        const why = this.#explained(error);
        // How many tokens a text has, only the model knows: the oldest turns go until the rest fits.
        if (why === TOO_LONG && fitting.length > 1) return this.#ask(said, fewer(fitting), mix, onText, signal, options);
        throw new Error(why);
      }
    }
    said.text = said.text.trim();
    return said;
  }

  /** llama.cpp says why it fails in its log only. */
  #logger() {
    const quiet = () => {};
    return {debug: quiet, log: quiet, warn: quiet, error: (...words) => { this.complaint ||= words.join(" "); console.warn(...words); }};
  }

  #explained(error) {
    const text = `${this.complaint ?? ""} ${error?.message ?? error}`.trim();
    if (/memory|alloc|out of bounds/i.test(text))
      return "There is not enough memory for the model here (about 400 MB are needed). Close other tabs or programs, then reload.";
    if (/context size|too long/i.test(text)) return TOO_LONG;
    return `The model stopped: ${text.slice(0, 200)}. Reload the page to start it again.`;
  }

  /** What llama.cpp takes: the strength of every adapter. */
  lora(mix) {
    return this.site.personas.map(({name}, id) => ({id, scale: mix[name] ?? 0}));
  }

  /** The persona that has most of the say. */
  #voice(mix) {
    const most = Object.entries(mix).sort(([, a], [, b]) => b - a)[0];
    return most && most[1] > 0 ? this.site.personas.find(({name}) => name === most[0]) : undefined;
  }
}

/** A file in memory until its `bytes` are let go. llama.cpp reads the matrices of an adapter in no order, and a megabyte each
 * time: from a blob that takes seconds. */
async function hold(blob) {
  const slice = (begin, end) => (file.bytes ? {arrayBuffer: async () => file.bytes.slice(begin, end)} : blob.slice(begin, end));
  const bytes = await blob.arrayBuffer().catch(() => undefined); // too little memory: slowly, then
  const file = {size: blob.size, bytes, slice, stream: () => blob.stream()};
  return file;
}

/** Adds files to those that wllama gives to llama.cpp; by itself it gives the model's only. */
function mount(llama, files) {
  let proxy;
  Object.defineProperty(llama, "proxy", {
    configurable: true,
    get: () => proxy,
    set(made) {
      if (made?.moduleInit) {
        const init = made.moduleInit.bind(made);
        made.moduleInit = (models) => init([...models, ...files]);
      }
      proxy = made;
    },
  });
}
