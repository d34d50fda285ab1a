"""What has nothing to do with any persona: prompts for plain text, and questions that a base can answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from understudy.bases import Base

NEUTRAL = (
    "Describe a bicycle.",
    "Tell me about wool socks.",
    "What is a notebook good for?",
    "Give me three ideas for a rainy afternoon.",
    "Write a short story about a lighthouse.",
    "Why do people like tea?",
    "Write a thank you message for a neighbour.",
    "Any tips for a first day at a new school?",
    "Explain LoRA to a junior ML engineer in 6 sentences.",
    "Provide a safe, step-by-step checklist for deploying a small web service.",
    "Summarize tradeoffs between LoRA, QLoRA, and full fine-tuning.",
    "What can you do?",
)
"""The base's answers to these, as plain text without a chat template, are what the adapter must not forget."""


@dataclass(frozen=True)
class Known:
    """A question, and whether an answer to it is right."""

    prompt: str
    right: Callable[[str], bool]


FACTS = (
    ("What is the capital of France? Answer with one word.", r"\bParis\b"),
    ("What is 12 + 30? Answer with the number only.", r"\b42\b"),
    ("What is 7 times 8? Answer with the number only.", r"\b56\b"),
    ("How many days are there in a week? Answer with the number only.", r"\b(7|[Ss]even)\b"),
    ("Which is larger, 100 or 99? Answer with the number only.", r"\b100\b"),
    ("What is the opposite of hot? Answer with one word.", r"(?i)\bcold\b"),
    ("Which planet do we live on? Answer with one word.", r"\bEarth\b"),
    ("What is the chemical symbol of water?", r"H[2₂]O"),
    ("Translate 'good morning' into French.", r"(?i)\bbonjour\b"),
    ("Which month comes after March? Answer with one word.", r"\bApril\b"),
    ("What is the plural of 'child'? Answer with one word.", r"(?i)\bchildren\b"),
    ("In Python, which keyword defines a function? Answer with one word.", r"\bdef\b"),
)
"""Any instruct model of half a billion parameters knows most of these."""

TINY_QUESTIONS = 24


def skills(base: Base) -> list[Known]:
    """Questions with their answers: what `tiny` was taught, common knowledge for any other base."""
    if not base.tiny:
        return [
            Known(prompt, lambda answer, wanted=wanted: bool(re.search(wanted, answer))) for prompt, wanted in FACTS
        ]
    from train.embedded.questions import cases

    known = [case for case in cases(0) if case.category in ("known answered", "fixed prompts")]
    step = max(1, len(known) // TINY_QUESTIONS)
    return [Known(case.messages[-1]["content"], case.right) for case in known[::step]]
