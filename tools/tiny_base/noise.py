"""The way people really type: lower case, no full stop, `please`, small typos, a greeting in front."""

from random import Random

from tools.tiny_base import tables


def typed(rng: Random, text: str, topic: str = "") -> str:
    """The text as a hurried person types it; `topic` stays letter for letter."""
    if rng.random() < 0.22 and (not topic or topic == topic.lower()):
        text = text.lower() if '"' not in text else text
    elif rng.random() < 0.1 and not (topic and text.startswith(topic)):
        text = text[:1].lower() + text[1:]
    if rng.random() < 0.18:
        text = text.rstrip(".?!")
    if rng.random() < 0.05:
        text = rng.choice(tables.phrases("asking.yaml")["before"]) + (
            text if text[:2].strip() == "I" or (topic and text.startswith(topic)) else text[:1].lower() + text[1:]
        )
    elif rng.random() < 0.05:
        text = text.rstrip(".?!") + rng.choice(tables.phrases("asking.yaml")["after"])
    return misspelled(rng, text, topic) if rng.random() < 0.07 else text


def misspelled(rng: Random, text: str, topic: str) -> str:
    """One common word of the text (never the topic) with two letters swapped, one dropped or one doubled."""
    words = text.split(" ")
    common = tables.phrases("spelling.yaml")["misspelled"]
    protected = set(topic.lower().split())
    places = [i for i, word in enumerate(words) if word.lower() in common and word.lower() not in protected]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(len(word) - 1)
    words[place] = rng.choice(
        [word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :], word[: at + 1] + word[at:]]
    )
    return " ".join(words)
