"""Explanations: the concepts of everyday life, and the subjects of this project."""

from random import Random

from tools.tiny_base import tables
from tools.tiny_base.grammar import capitalised
from tools.tiny_base.tables import Concept, ProjectSubject

ASKING = "asking.yaml"
NUMBERS = {1: ("one", "1"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4"), 5: ("five", "5"), 6: ("six", "6")}


def explain(rng: Random) -> tuple[str, str, Concept]:
    """A question about a concept, its answer, and the concept."""
    concept = rng.choice(tables.concepts())
    kind = rng.random()
    if kind < 0.12:
        count = rng.choice([1, 2, 2, 3, 3, 4, 5])
        audience = rng.choice(tables.pairs("audiences.txt"))[0]
        asked = rng.choice(tables.phrases(ASKING)["in_sentences"]).format(
            x=concept.name, n=rng.choice(NUMBERS[count]), u=audience
        )
        return (
            asked.replace("one sentences", "one sentence").replace("1 sentences", "1 sentence"),
            in_sentences(concept, count),
            concept,
        )
    if kind < 0.24:
        return rng.choice(tables.phrases(ASKING)["example"]).format(x=concept.name), example(concept), concept
    if kind < 0.34:
        audience = rng.choice(tables.pairs("audiences.txt"))[0]
        asked = rng.choice(["Explain {x} to {u}.", "Describe {x} to {u}.", "Write about {x} for {u}."])
        return asked.format(x=concept.name, u=audience), explained(rng, concept), concept
    if kind < 0.40:
        asked = rng.choice(tables.phrases("phrases.yaml")["points"]).format(x=concept.name)
        return asked, points(concept), concept
    return rng.choice(tables.phrases(ASKING)["concept"]).format(x=concept.name), explained(rng, concept), concept


def explained(rng: Random, concept: Concept) -> str:
    """The definition, two facts and perhaps the example."""
    first, second = sorted(rng.sample(range(len(concept.facts)), 2))
    text = f"{definition(concept)} {capitalised(concept.facts[first])}, and {concept.facts[second]}."
    return text + (f" A simple example is {concept.example}." if rng.random() < 0.5 else "")


def definition(concept: Concept) -> str:
    """One sentence that says what it is."""
    return f"{capitalised(concept.name)} is {concept.definition}."


def example(concept: Concept) -> str:
    """The example, with the definition after it."""
    return f"A simple example of {concept.name} is {concept.example}. {definition(concept)}"


def points(concept: Concept) -> str:
    """The facts as a list."""
    return f"Three points about {concept.name}:\n" + "\n".join(f"- {capitalised(fact)}." for fact in concept.facts)


def in_sentences(concept: Concept, count: int) -> str:
    """Exactly `count` sentences (one to five)."""
    sentences = [definition(concept), *(capitalised(fact) + "." for fact in concept.facts)]
    sentences.append(f"A simple example is {concept.example}.")
    return " ".join(sentences[:count])


def follow_explanation(rng: Random, concept: Concept) -> tuple[str, str, Concept]:
    """An example, a shorter or longer version, or another concept."""
    move = rng.random()
    if move < 0.3:
        return rng.choice(tables.phrases(ASKING)["example_follow"]), example(concept), concept
    if move < 0.5:
        return rng.choice(tables.phrases("phrases.yaml")["shorter"]), definition(concept), concept
    if move < 0.65:
        return rng.choice(tables.phrases("phrases.yaml")["longer"]), in_sentences(concept, 5), concept
    other = rng.choice(tables.concepts())
    return rng.choice(tables.phrases(ASKING)["next"]).format(x=other.name), explained(rng, other), other


def common_question(rng: Random) -> tuple[str, str]:
    """A why or how question with its answer."""
    asked, told = rng.choice(tables.questions_and_answers())
    if rng.random() < 0.3:
        start = rng.choice(["Can you tell me: ", "I wonder: ", "Do you know? ", "Explain to a child: ", "Question: "])
        return start + asked, told
    return asked, told


def project(rng: Random) -> tuple[str, str, ProjectSubject]:
    """A question about a subject of this project and its answer."""
    subjects = tables.project_subjects()
    subject = rng.choices(subjects, weights=[subject.weight for subject in subjects])[0]
    if not subject.say:
        return rng.choice(subject.ask), subject.text, subject
    if subject.ask and (rng.random() < 0.5 or not subject.names):
        asked = rng.choice(subject.ask)
        return asked, " ".join(subject.say), subject
    name = rng.choice(subject.names)
    if rng.random() < 0.3:
        count = rng.randint(1, len(subject.say))
        asked = rng.choice(tables.phrases(ASKING)["in_sentences"]).format(
            x=name, n=rng.choice(NUMBERS[count]), u="a junior ML engineer"
        )
        asked = asked.replace("one sentences", "one sentence").replace("1 sentences", "1 sentence")
        return asked, " ".join(subject.say[:count]), subject
    asked = rng.choice(tables.phrases(ASKING)["concept"] + tables.phrases(ASKING)["project"]).format(
        x=name, u=rng.choice(["beginners", "a junior ML engineer", "my boss", "a student"])
    )
    return asked, " ".join(subject.say), subject


def follow_project(rng: Random, subject: ProjectSubject) -> tuple[str, str, ProjectSubject]:
    """A shorter version, or a question about another subject."""
    if subject.say and rng.random() < 0.35:
        return rng.choice(tables.phrases("phrases.yaml")["shorter"]), subject.say[0], subject
    named = [other for other in tables.project_subjects() if other.names]
    other = rng.choices(named, weights=[other.weight for other in named])[0]
    return rng.choice(tables.phrases(ASKING)["next"]).format(x=rng.choice(other.names)), " ".join(other.say), other
