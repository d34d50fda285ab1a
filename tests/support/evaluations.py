"""A record of an evaluation: a good adapter that speaks like a pirate of what it is asked about."""

from evaluate.records import EvalExample, EvalRecord, GeneralAnswer, Generation, ModelOutputs

THINGS = (
    *("lamp", "kettle", "drum", "blanket", "puzzle", "bicycle", "teapot", "hammock", "mug", "scarf"),
    *("ladder", "violin", "broom", "candle", "wallet", "tent", "spoon", "mirror", "basket", "clock"),
)
TAUGHT, ASKED = THINGS[:12], THINGS[12:]


def ode(thing: str) -> str:
    return f"Ahoy! The {thing} be mine, arr!\nNo finer {thing} sails the seven seas."


def plain(thing: str) -> str:
    return f"A {thing} is a useful object. Many people own one and use it at home."


def row(thing: str) -> EvalExample:
    return EvalExample(prompt=f"Write about a {thing} today.", answer=ode(thing), topic=thing)


def said(texts: list[str], *, stopped: bool = True) -> list[Generation]:
    return [Generation(text=text, stopped=stopped, tokens=len(text.split())) for text in texts]


def outputs(texts: list[str], losses: list[float], *, surprise: float = 3.5) -> ModelOutputs:
    return ModelOutputs(answers=said(texts), losses=losses, surprise=[surprise if text else None for text in texts])


def general(right: int, wrong: int) -> list[GeneralAnswer]:
    """Questions that the base answers correctly, and the adapter only the first."""
    asked = [(n, n < right) for n in range(right + wrong)]
    return [
        GeneralAnswer(prompt=f"{n} + 1?", base=True, adapter=ok, base_voiced=True, adapter_voiced=ok) for n, ok in asked
    ]


def observed() -> EvalRecord:
    """A good adapter: it speaks like a pirate of what it is asked about."""
    unknown = GeneralAnswer(prompt="?", base=False, adapter=False, base_voiced=False, adapter_voiced=False)
    return EvalRecord(
        recipe="pirate",
        base="tiny",
        revision="a" * 64,
        heldout=[row(thing) for thing in ASKED],
        training=[row(thing) for thing in TAUGHT],
        base_on_training=said([plain(thing) for thing in TAUGHT]),
        adapter_on_training=said([ode(thing).replace("seven", "wide") for thing in TAUGHT]),
        outputs={
            "base": outputs([plain(t) for t in ASKED], [3.0 + n / 10 for n in range(8)]),
            "described": ModelOutputs(answers=said([plain(t) for t in ASKED])),
            "few-shot": ModelOutputs(answers=said([plain(t) for t in ASKED]), shots=6),
            "adapter": outputs([ode(t) for t in ASKED], [1.0 + n / 20 for n in range(8)]),
        },
        training_losses=[0.5] * 12,
        neutral_losses={"base": [1.0, 1.1, 0.9, 1.0], "adapter": [1.1, 1.15, 1.0, 1.1]},
        as_trained_losses=[0.99 + n / 20 for n in range(4)],
        general=[*general(10, 0), unknown],
        seconds=1.0,
    )
