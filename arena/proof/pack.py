"""The proof pack: what an adapter does on held-out prompts, beside its base and few-shot, and whether that will do."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from arena.answers import AnswerChecks, Exchange, check
from arena.intervals import Estimate, MeasurementError, bootstrap_mean, paired_difference, rate
from arena.proof.code import CodeMeasures, code_reasons, measure_code
from arena.proof.copying import CopyingReport, copying
from arena.proof.diversity import DiversityReport, diversity
from arena.proof.served import ServedMeasures, served_measures, served_reasons
from arena.proof.style import StyleReport, style_scores
from understudy.proof import Asked, ContestantName, Heard, Said, Testimony, Thresholds


class Measures(BaseModel):
    """One contestant on the held-out prompts."""

    model_config = ConfigDict(frozen=True)

    loss: Estimate
    """Nats per token of the data's own answers."""
    in_style: Estimate
    stopped: Estimate
    on_topic: Estimate | None
    """None where no held-out row names its topic."""
    echoes: Estimate
    degenerate: Estimate
    words: Estimate
    """Words of an answer."""
    shots: int = 0


class ProofPack(BaseModel):
    """All figures of one adapter, and the verdict."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    base: str
    revision: str
    prompts: int
    """Held-out prompts that were asked."""
    examples: int
    """Training rows."""
    contestants: dict[ContestantName, Measures]
    style_accuracy: Estimate
    """Of the style classifier, cross-validated; where its low end is not above 0.5 its scores say nothing."""
    against_base: Estimate
    """Loss of the base less the adapter's, by row: above zero the adapter is better."""
    against_few_shot: Estimate
    copied: Estimate
    """Share of the adapter's answers that are training answers to other prompts."""
    memorised: Estimate
    """Share of training prompts that the adapter answers word for word as their rows do (case and space apart)."""
    diversity: DiversityReport
    training_loss: float
    forgetting: Estimate | None
    """Rise of the loss on plain text that the base wrote; None where it wrote none."""
    skills_base: Estimate | None
    skills_adapter: Estimate | None
    """Share of common questions answered rightly; a persona may answer them in its own way."""
    parity: float | None
    """Held-out loss on the base as it is served, less that on the base as it was trained on."""
    worse: list[str]
    """What got worse than the base, whatever the verdict."""
    reasons: list[str]
    """Why it is refused; empty when it passes."""
    thresholds: Thresholds
    method: str = ""
    """How it was trained; `full` is no adapter."""
    code: dict[str, CodeMeasures] = {}
    """By contestant, and `data` for the data's own answers; empty where the recipe teaches no code."""
    served: ServedMeasures | None = None
    """None where vLLM was not asked."""

    @property
    def passed(self) -> bool:
        return not self.reasons


def prove(testimony: Testimony, thresholds: Thresholds, *, seed: int = 0) -> ProofPack:
    """Measures everything and gives the verdict.

    Code in the answers is run, where the thresholds ask for code.

    Raises:
        MeasurementError: there are no held-out rows, or too few to say anything.
        CodeEvalError: code cannot be run on this machine.
    """
    t = testimony
    if len(t.heldout) < 2:
        raise MeasurementError(
            f"{t.recipe} has {len(t.heldout)} held-out rows; write at least two (better twenty) into its heldout.jsonl"
        )
    styles = {name: _style(t, heard.answers, seed) for name, heard in t.heard.items()}
    contestants: dict[ContestantName, Measures] = {name: _measures(t, name, styles[name], seed) for name in t.heard}
    adapter, base = t.heard["adapter"], t.heard["base"]
    pack = ProofPack(
        recipe=t.recipe,
        base=t.base,
        revision=t.revision,
        prompts=len(t.heldout),
        examples=len(t.training),
        contestants=contestants,
        style_accuracy=styles["adapter"].accuracy,
        against_base=paired_difference(base.losses, adapter.losses, seed=seed),
        against_few_shot=paired_difference(t.heard["few-shot"].losses, adapter.losses, seed=seed),
        copied=_copied(t, adapter, seed).copied,
        memorised=_memorised(t),
        diversity=diversity([a.text for a in adapter.answers], [row.answer for row in t.training], seed=seed),
        training_loss=fmean(t.training_losses),
        forgetting=_forgetting(t, seed),
        skills_base=_skilled(t, "base"),
        skills_adapter=_skilled(t, "adapter"),
        parity=fmean(adapter.losses) - fmean(t.as_trained_losses) if t.as_trained_losses else None,
        worse=[],
        reasons=[],
        thresholds=thresholds,
        method=t.method,
        code=_code(t, seed) if thresholds.code else {},
        served=served_measures(t),
    )
    return pack.model_copy(update={"worse": _worse(pack), "reasons": _reasons(pack)})


def _style(t: Testimony, answers: Sequence[Said], seed: int) -> StyleReport:
    training = [Exchange(row.prompt, row.answer) for row in t.training]
    other = [Exchange(row.prompt, said.text) for row, said in zip(t.training, t.base_on_training, strict=True)]
    return style_scores(training, other, _exchanges(t.heldout, answers), seed=seed)


def _measures(t: Testimony, name: ContestantName, style: StyleReport, seed: int) -> Measures:
    heard = t.heard[name]
    checks = _checks(t.heldout, heard.answers)
    topics = [one.on_topic for one in checks if one.on_topic is not None]
    return Measures(
        loss=bootstrap_mean(heard.losses, bounds=(0, 1e6), seed=seed),
        in_style=style.in_style,
        stopped=rate(sum(one.stopped for one in checks), len(checks)),
        on_topic=rate(sum(topics), len(topics)) if topics else None,
        echoes=rate(sum(one.echoes_prompt for one in checks), len(checks)),
        degenerate=rate(sum(bool(one.degenerate) for one in checks), len(checks)),
        words=bootstrap_mean([one.words for one in checks], bounds=(0, 1e6), seed=seed),
        shots=heard.shots,
    )


def _checks(rows: Sequence[Asked], answers: Sequence[Said]) -> list[AnswerChecks]:
    return [
        check(Exchange(row.prompt, said.text), finish_reason="stop" if said.stopped else "length", topic=row.topic)
        for row, said in zip(rows, answers, strict=True)
    ]


def _exchanges(rows: Sequence[Asked], answers: Sequence[Said]) -> list[Exchange]:
    return [Exchange(row.prompt, said.text) for row, said in zip(rows, answers, strict=True)]


def _copied(t: Testimony, heard: Heard, seed: int) -> CopyingReport:
    return copying(
        [said.text for said in heard.answers],
        [row.answer for row in t.training],
        prompts=[row.prompt for row in t.heldout],
        training_prompts=[row.prompt for row in t.training],
        seed=seed,
    )


def _memorised(t: Testimony) -> Estimate:
    pairs = zip(t.training, t.adapter_on_training, strict=True)
    same = sum(row.answer.casefold().split() == said.text.casefold().split() for row, said in pairs)
    return rate(same, len(t.training))


def _forgetting(t: Testimony, seed: int) -> Estimate | None:
    before, after = t.plain_losses["base"], t.plain_losses["adapter"]
    return paired_difference(after, before, seed=seed) if len(before) > 1 else None


def _code(t: Testimony, seed: int) -> dict[str, CodeMeasures]:
    right = [row.answer for row in t.heldout]
    answers = {name: [said.text for said in heard.answers] for name, heard in t.heard.items()}
    return {name: measure_code(said, right, seed=seed) for name, said in {**answers, "data": right}.items()}


def _skilled(t: Testimony, who: str) -> Estimate | None:
    known = [skill for skill in t.skills if skill.base]  # what the base itself cannot do cannot be forgotten
    return rate(sum(getattr(skill, who) for skill in known), len(known)) if known else None


def _reasons(pack: ProofPack) -> list[str]:
    """Every threshold that is missed, with the figure, the limit and what to do."""
    t, mine, reasons = pack.thresholds, pack.contestants["adapter"], []
    floors = (
        ("are in style", mine.in_style, t.in_style, "more epochs or rows"),
        ("end by themselves", mine.stopped, t.stopped, "check that the end of turn is trained: understudy check"),
        ("are on topic", mine.on_topic, t.on_topic, "fewer epochs, a lower rank, or rows with more different topics"),
    )
    for what, found, least, remedy in floors:
        if found is not None and found.value < least:
            reasons.append(f"{found.value:.0%} of its answers {what}, at least {least:.0%} are needed; {remedy}")
    ceilings = (
        ("are copied from training answers", pack.copied, t.copied, "fewer epochs, or more rows"),
        (
            "to training prompts are the rows' own, word for word",
            pack.memorised,
            t.memorised,
            "fewer epochs, or more rows",
        ),
        ("repeat the prompt", mine.echoes, t.echoes, "train on answers only, with a chat template"),
        ("are no answers", mine.degenerate, t.degenerate, "fewer epochs or a lower learning rate"),
    )
    for what, found, most, remedy in ceilings:
        if found.value > most:
            reasons.append(f"{found.value:.0%} of its answers {what}, at most {most:.0%} may; {remedy}")
    if pack.against_base.high < 0:
        reasons.append(
            f"it finds the held-out answers less likely than the base does, by {-pack.against_base.value:.2f} nats"
        )
    if pack.forgetting is not None and pack.forgetting.value > t.forgetting:
        reasons.append(
            f"the base's own plain text costs it {pack.forgetting.value:.2f} nats a token more, at most "
            f"{t.forgetting:g} may; fewer epochs or a lower learning rate"
        )
    if pack.parity is not None and pack.parity > t.parity:
        reasons.append(
            f"on the base as it is served its loss is {pack.parity:.2f} higher than on the base it was trained on, at "
            f"most {t.parity:g} may be; train with method lora"
        )
    if t.code is not None:
        reasons += code_reasons(pack.code["adapter"], t.code)
    return reasons + served_reasons(pack.served, t)


def _worse(pack: ProofPack) -> list[str]:
    """What got worse than the base, as far as the intervals say so."""
    base, mine, worse = pack.contestants["base"], pack.contestants["adapter"], []
    if pack.forgetting is not None and pack.forgetting.low > 0:
        worse.append(f"plain text: {pack.forgetting.value:.2f} nats a token")
    if pack.skills_base and pack.skills_adapter and pack.skills_adapter.high < pack.skills_base.value:
        worse.append(
            f"common questions: {pack.skills_adapter.value:.0%} right of those that the base has right "
            "(a persona may answer them in its own way)"
        )
    if base.on_topic and mine.on_topic and mine.on_topic.high < base.on_topic.value:
        worse.append(f"topic: {mine.on_topic.value:.0%} of the answers name it, the base's {base.on_topic.value:.0%}")
    if mine.stopped.high < base.stopped.value:
        worse.append(
            f"ends: {mine.stopped.value:.0%} of the answers end by themselves, the base's {base.stopped.value:.0%}"
        )
    return worse
