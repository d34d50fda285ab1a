"""Personas that are not live yet, and the lines that show how they get on."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from space.i18n import ENGLISH, say


class LearningPersona(BaseModel):
    """One of them, as `GET /v1/models` lists it under `learning`."""

    model_config = ConfigDict(frozen=True)

    persona: str
    title: str
    state: Literal["learning", "publishing", "refused"]
    percent: int = Field(default=0, ge=0, le=100)
    """How much of the training is done."""
    reason: str = ""
    """Why it was refused, in English."""


def read_learners(models: Any) -> tuple[LearningPersona, ...]:
    """The learners in an answer of `GET /v1/models`; none where a gateway knows no such list.

    An entry that makes no sense is left out: it says nothing about the others.
    """
    entries = models.get("learning") if isinstance(models, dict) else None
    found = []
    for entry in entries if isinstance(entries, list) else ():
        try:
            found.append(LearningPersona.model_validate(entry))
        except ValidationError:
            continue
    return tuple(found)


def learning_lines(learners: tuple[LearningPersona, ...], language: str = ENGLISH) -> str:
    """HTML: one line for each; empty when there is nobody."""
    return f'<ul class="learning">{"".join(_line(one, language) for one in learners)}</ul>' if learners else ""


def _line(one: LearningPersona, language: str) -> str:
    text = say(f"learning_{one.state}", language, who=one.title, percent=one.percent, reason=one.reason)
    bar = f'<progress max="100" value="{one.percent}" aria-hidden="true"></progress>' if one.state == "learning" else ""
    return f'<li class="{one.state}">{bar}<span>{text}</span></li>'
