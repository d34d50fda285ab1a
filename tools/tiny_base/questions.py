"""The evaluation's questions: held-out topics and held-out shapes, each with what a right answer must do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.conversations import Message
from tools.tiny_base.grammar import with_article
from tools.tiny_base.heldout import held_out

REFUSAL = "small world"
ASK_TOPIC = (
    "Write about {x}.",
    "Tell me about {x}.",
    "Describe {x}.",
    "Promote {x} for {o}.",
    "Write about {x} for {o}.",
    "Tell me about {x} for {u}.",
    "write something about {x}",
    "Write an email about {x}.",
    "Write an email about {x} for {o}.",
    "Tell me a joke about {x}.",
    "Give me three ideas for {x}.",
    "Why do people like {x}?",
    "What is {x} good for?",
    "Write a slogan for {x}.",
    "please describe {x} to {u}",
    "Write a thank you message for {x}.",
    "Do a stand-up bit about {x}.",
    "Write a marketing email about {x}.",
    "any tips for {x}",
    "List three points about {x}.",
    "Write a short story about {x}.",
    "can you wrte a few sentences about {x} for {o}",
    "Announce {x}.",
)
FOLLOW_UPS = (
    "make it shorter",
    "Now for Mother's Day.",
    "and for students?",
    "what is it good for?",
    "Write an email about it.",
    "Any tips?",
    "Tell me more.",
    "Who is it for?",
    "Now a joke about it.",
    "Give me three ideas for it.",
    "Another one.",
    "shorter please",
)
OTHER_TOPIC = ("And about {x}?", "Now write about {x}.", "What about {x}?", "and {x}?")
OPENERS = (
    "Hello",
    "Who are you?",
    "What is the capital of France?",
    "thanks",
    "How are you?",
    "What can you do?",
    "What is 12 + 30?",
)
ASK_UNSEEN = ("What is {x}?", "Explain {x}.", "How does {x} work?", "Who invented {x}?")
FIXED = (
    "Explain LoRA to a junior ML engineer in 6 sentences.",
    "Provide a safe, step-by-step checklist for deploying a small web service.",
    "Summarize tradeoffs between LoRA, QLoRA, and full fine-tuning.",
)


@dataclass(frozen=True)
class Case:
    """Messages up to a last question, and whether an answer to it is right."""

    category: str
    messages: tuple[Message, ...]
    right: Callable[[str], bool]


def user(*questions: str) -> tuple[Message, ...]:
    """User messages; a case with several is answered turn by turn."""
    return tuple({"role": "user", "content": question} for question in questions)


def cases(seed: int) -> list[Case]:
    """Every case of the evaluation, the same for the same seed."""
    rng = Random(f"evaluation/{seed}")
    return [*_topics(rng), *_two_turns(rng), *_unknown(rng), *_known(rng)]


def topics() -> list[tuple[str, str]]:
    """Each held-out topic as it is spoken (with an article) and the words that must be copied."""
    held = held_out()
    spoken = [(with_article(noun), noun) for noun in (*held.words, *held.phrases)]
    spoken += [(noun, noun) for noun in (*held.plural, *held.mass)]
    return spoken + [(_spoken_name(name, place), name) for place, name in enumerate(held.names)]


def mentions(noun: str) -> Callable[[str], bool]:
    """Whether an answer to a question about `noun` names it letter for letter and does not refuse."""
    return lambda answer: noun.lower() in answer.lower() and REFUSAL not in answer


def refuses(answer: str) -> bool:
    """Whether the answer says that the base knows only a small world."""
    return REFUSAL in answer


def _spoken_name(name: str, place: int) -> str:
    nouns = ("lamp", "kettle", "backpack", "app", "notebook")
    return name if place % 3 == 0 else f"the {name} {nouns[place % 5]}"


def _ask(rng: Random, template: str, spoken: str) -> str:
    occasion = rng.choice(tables.pairs("occasions.txt"))[0]
    return template.format(x=spoken, o=occasion, u=rng.choice(tables.pairs("audiences.txt"))[0])


def _topics(rng: Random) -> list[Case]:
    return [
        Case("topic copied", user(_ask(rng, ASK_TOPIC[place % len(ASK_TOPIC)], spoken)), mentions(noun))
        for place, (spoken, noun) in enumerate(topics())
    ]


def _two_turns(rng: Random) -> list[Case]:
    found: list[Case] = []
    chosen = rng.sample(topics(), 60)
    for place, (spoken, noun) in enumerate(chosen[:36]):
        first = _ask(rng, rng.choice(ASK_TOPIC[:7]), spoken)
        found.append(Case("two turns", user(first, FOLLOW_UPS[place % len(FOLLOW_UPS)]), mentions(noun)))
    for place, (spoken, noun) in enumerate(chosen[36:48]):
        first = _ask(rng, rng.choice(ASK_TOPIC[:7]), chosen[place][0])
        found.append(Case("two turns", user(first, OTHER_TOPIC[place % 4].format(x=spoken)), mentions(noun)))
    for place, (spoken, noun) in enumerate(chosen[48:]):
        second = _ask(rng, rng.choice(ASK_TOPIC), spoken)
        found.append(Case("two turns", user(OPENERS[place % len(OPENERS)], second), mentions(noun)))
    return found


def _unknown(rng: Random) -> list[Case]:
    found = [Case("refused when unknown", user(question), refuses) for question in held_out().unknown]
    for place, (spoken, _) in enumerate(rng.sample(topics(), 16)):
        found.append(Case("refused when unknown", user(ASK_UNSEEN[place % 4].format(x=spoken)), refuses))
    return found


def _known(rng: Random) -> list[Case]:
    found = [
        Case("known answered", user(f"could you please explain {c.name} to me"), _says((c.definition,)))
        for c in rng.sample(tables.concepts(), 25)
    ]
    for task in rng.sample(tables.python_answers("python_tasks.txt"), 20):
        found.append(Case("known answered", user(f"hi, how do i {task.task} with python?"), _says((task.code,))))
    subjects = [subject for subject in tables.project_subjects() if subject.names]
    for subject in rng.sample(subjects, 15):
        found.append(
            Case("known answered", user(f"Please tell me what {subject.names[0]} means."), _says(subject.say[:1]))
        )
    found.append(Case("fixed prompts", user(FIXED[0]), lambda answer: answer.count(".") == 6 and "low-rank" in answer))
    found.append(Case("fixed prompts", user(FIXED[1]), lambda answer: "\n8. " in answer and "HTTPS" in answer))
    found.append(Case("fixed prompts", user(FIXED[2]), _says(("QLoRA is", "LoRA trains", "Full fine-tuning updates"))))
    return found


def _says(parts: Sequence[str]) -> Callable[[str], bool]:
    return lambda answer: all(part in answer for part in parts)
