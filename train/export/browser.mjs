// Asks a page what it says, by its own code: runs in a browser, beside the page's files.
//
//   ask.json: {persona, chats: [[{role, content}]], marks: {text: id}, prompts: [[id]], answers: [[id]],
//              runs: [[{start, before, tokens: [id], pieces: [text]}]], ends: [id], limits: [n], generated}
//   -> POST result: {browser, tokens: [[id]], template, ends: [id], answers: [[id]], next: [[id]]}, as llama_cpp.mjs has them
//
// wllama gives completions only. So the tokens of a text are those that `logit_bias` (of 0) takes it for, which a verbose
// answer lists; it reads no special tokens, so they are left out (`marks`), and the number of all tokens is compared as
// well. Our answers are forced by a grammar of token ids, and `n_probs` has what would have been said at each of them. A
// grammar takes no token that is a part of a character: an answer is forced in `runs` of others, each after the answer's
// text `before` it. Where the page itself would say such a part, wllama breaks, because it cannot list it: it is started
// again, and the run is divided until that place is alone. What is not known of a place, or is no whole character, is -1.
// It breaks as well where an answer of its own is cut within a character: a shorter one is taken.
// A greedy answer is ours as far as these agree: but for the first `generated` prompts, one that is ours is not generated again.
import {Engine} from "./engine.js";
import {render} from "./prompt.js";

const UNLISTED = /Invalid typed array length/; // what wllama makes of a list that is no UTF-8

const post = (path, body) => fetch(path, {method: "POST", body: JSON.stringify(body)});
const read = async (name) => (await fetch(name)).json();

async function main() {
  const [job, site] = await Promise.all([read("ask.json"), read("personas.json")]);
  const engine = new Engine(site);
  const start = () => engine.start(() => {}, () => {});
  await start();
  const lora = engine.lora({[job.persona]: 1});
  const ask = (prompt, limit, more) => engine.llama.createCompletion({
    prompt, max_tokens: limit, temperature: 0, repeat_penalty: 1, lora, verbose: true, return_tokens: true, ...more,
  });
  ask.again = () => engine.llama.exit().then(start);
  const found = {tokens: [], answers: [], next: [], template: engine.llama.getChatTemplate() ?? ""};
  found.browser = /(Firefox|Chrome)\/\d+/.exec(navigator.userAgent)?.[0].replace("/", " ") ?? navigator.userAgent;
  found.ends = job.ends.filter((token) => engine.llama.isTokenEOG(token));
  for (const [place, chat] of job.chats.entries()) {
    const text = render(site.chat, chat), ours = job.answers[place], most = job.limits[place];
    const following = ours.length ? await along(text, job.prompts[place].length, ours, job.runs[place], ask) : [];
    const said = place < job.generated ? null : known(ours, following, most, engine.llama);
    const bias = {logit_bias: between(text, job.marks).map((part) => [part, 0])};
    const own = [most, most - 1, most - 2, most - 3, most >> 1].filter((limit) => limit > 0);
    const given = async () => ({...await ask(text, 1, {...bias, grammar: 'root ::= "a"'}), answer: said ?? []});
    const read = await listed([...(said ? [] : own.map((limit) => () => ask(text, limit, bias))), given], ask.again);
    found.tokens.push(tokens(read, job.prompts[place], job.marks));
    found.answers.push(read.answer ?? read.__verbose.tokens.filter((token) => !engine.llama.isTokenEOG(token)));
    found.next.push(following);
    await post("progress", [place + 1, job.chats.length]);
  }
  await post("result", found);
}

/** The result of the first attempt that does not break wllama. */
async function listed([attempt, ...others], again) {
  try {
    return await attempt();
  } catch (error) {
    if (!UNLISTED.test(error?.message) || !others.length) throw error;
    await again();
    return listed(others, again);
  }
}

/** The parts of a text between special tokens. */
function between(text, marks) {
  let parts = [text];
  for (const mark of Object.keys(marks)) parts = parts.flatMap((part) => part.split(mark));
  return parts.filter(Boolean);
}

/** The tokens of the prompt: its special ones are where ours are, if the number of all is right. */
function tokens(said, ours, marks) {
  const special = new Set(Object.values(marks));
  const read = said.__verbose.generation_settings.logit_bias.map(({token}) => token);
  const all = [...ours.map((token) => (special.has(token) ? token : read.shift() ?? -1)), ...read];
  return said.usage.prompt_tokens === all.length ? all : [-1, ...all];
}

/** Its own greedy answer of at most `most` tokens, where that is ours as far as it goes; else null. */
function known(ours, following, most, llama) {
  const differs = ours.findIndex((token, place) => token !== following[place]);
  const same = differs < 0 ? ours.length : differs;
  return same >= most || (same === ours.length && llama.isTokenEOG(following[same])) ? ours.slice(0, most) : null;
}

/** What would have been said at each token of our answer, and after it. */
async function along(text, length, ours, runs, ask) {
  const next = new Array(ours.length + 1).fill(-1);
  const left = runs.map((run) => ({...run, after: run.start + run.tokens.length === ours.length ? 1 : 0}));
  while (left.length) {
    const run = left.pop(), {start, before, tokens, after} = run, places = tokens.length + after;
    if (!places) continue;
    const forced = tokens.length ? {grammar: `root ::= ${tokens.map((token) => `<[${token}]>`).join(" ")}`} : {};
    const whole = () => ask(text + before, places, {...forced, n_probs: 1});
    const parted = () => void left.push(...halves(run, places >> 1));
    const said = await listed([whole, parted], ask.again);
    if (said?.usage.prompt_tokens !== length + start) continue; // it reads the text before as other tokens than ours
    for (const [place, one] of said.choices[0].logprobs.content.entries()) next[start + place] = one.top_logprobs[0].id;
  }
  return next;
}

/** Two runs of one, the first with `count` tokens; none where nothing can be divided. */
function halves({start, before, tokens, pieces, after}, count) {
  const rest = before + pieces.slice(0, count).join("");
  return count ? [
    {start, before, tokens: tokens.slice(0, count), pieces: pieces.slice(0, count), after: 0},
    {start: start + count, before: rest, tokens: tokens.slice(count), pieces: pieces.slice(count), after},
  ] : [];
}

main().catch((error) => post("failure", String(error?.message ?? error)));
