// Asks llama.cpp (node-llama-cpp) what a GGUF file says. Reads one job as JSON from standard input, writes one result.
//
//   {model, lora: [{filePath, scale}], context, texts: [str], prompts: [[id]], answers: [[id]], ends: [id], limits: [n], generated, threads}
//   -> {tokens: [[id]], template, ends: [id], answers: [[id]], next: [[id]]}
//
// tokens: each text, special tokens read as such, with the BOS that llama.cpp puts before it. ends: those that end a turn here. answers: greedy continuations of the prompts, up to an end of turn.
// next: for each prompt and its answer, what llama.cpp would have said at each token of the answer.
// A greedy answer is the given one as far as `next` agrees with it: but for the first `generated` prompts, only what follows is generated.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const require = createRequire(process.argv[2] + "/");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);

let input = "";
for await (const part of process.stdin) input += part;
const job = JSON.parse(input);

const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: job.threads});
const model = await llama.loadModel({modelPath: job.model});
const lora = job.lora.length ? {adapters: job.lora} : undefined;
const context = await model.createContext({contextSize: job.context, lora, threads: job.threads, flashAttention: false});
const sequence = context.getSequence();

const bos = model.tokens.shouldPrependBosToken && model.tokens.bos != null ? [model.tokens.bos] : [];
const tokens = job.texts.map(text => [...bos, ...model.tokenize(text, true)]);
const ends = job.ends.filter(token => model.isEogToken(token));
const answers = [], next = [];
for (const [place, prompt] of job.prompts.entries()) {
    const given = job.answers[place] ?? [], most = job.limits[place];
    const following = given.length ? await along(prompt, given) : [];
    const said = place < job.generated ? [] : given.slice(0, shared(given, following, most));
    if (said.length < most) said.push(...await generate([...prompt, ...said], most - said.length));
    answers.push(said);
    next.push(following);
    process.stderr.write(`${place + 1}/${job.prompts.length}\n`);
}
const metadata = model.fileInfo.metadata;
const told = JSON.stringify({tokens, template: metadata.tokenizer?.chat_template ?? "", ends, answers, next});
process.stdout.write(told, () => process.exit(0)); // a pipe takes 64 KiB at once

async function along(prompt, given) {
    await sequence.clearHistory();
    const asked = [...prompt.slice(0, -1), ...[prompt.at(-1), ...given].map(token => [token, {generateNext: {token: true, options: {temperature: 0}}}])];
    return (await sequence.controlledEvaluate(asked)).slice(prompt.length - 1).map(one => one.next.token);
}

function shared(given, following, most) {
    const differs = given.findIndex((token, place) => token !== following[place]);
    return Math.min(differs < 0 ? given.length : differs, most);
}

async function generate(tokens, most) {
    await sequence.clearHistory();
    const said = [];
    for await (const token of sequence.evaluate(tokens, {temperature: 0, yieldEogToken: true})) {
        if (model.isEogToken(token)) break;
        said.push(token);
        if (said.length >= most) break;
    }
    return said;
}
