// The text of a prompt, as the base's own chat template renders it (ChatML), and the sampling of an answer.

/** `messages` as a prompt that is ready for the words of `next`; `chat` has the marks and the system turn of the template. */
export function render(chat, messages, next = "assistant") {
  const own = messages.find((message) => message.role === "system");
  const system = own ? own.content : chat.system;
  const turns = messages.filter((message) => message.role !== "system");
  const all = system ? [{role: "system", content: system}, ...turns] : turns;
  const written = all.map(({role, content}) => `${chat.start}${role}\n${content}${chat.end}\n`);
  return `${written.join("")}${chat.start}${next}\n`;
}

/** The newest messages that fit into `room` tokens; the first one kept is a question. */
export function newest(messages, room) {
  const kept = [];
  let left = room * 3; // characters; English has four or more a token
  for (const message of [...messages].reverse()) {
    left -= message.content.length + 24;
    if (left < 0 && kept.length) break;
    kept.unshift(message);
  }
  return fromQuestion(kept);
}

/** The messages without the oldest; the first one kept is a question. */
export const fewer = (messages) => fromQuestion(messages.slice(1));

function fromQuestion(messages) {
  const first = messages.findIndex(({role}) => role === "user");
  return messages.slice(first < 0 ? -1 : first);
}

/** llama.cpp's names of vLLM's sampling parameters; what a base does not say is off, as it is in vLLM. */
export function sampling(base, persona = {}) {
  const said = {...base, ...persona};
  return {
    temperature: said.temperature ?? 1,
    top_p: said.top_p ?? 1,
    top_k: said.top_k ?? 0,
    min_p: said.min_p ?? 0,
    repeat_penalty: said.repetition_penalty ?? 1,
  };
}
