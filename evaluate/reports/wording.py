"""The sentences of a report: what is measured and how, why something passed, and what the figures cannot say."""

from collections.abc import Sequence

from evaluate.report_card import ReportCard
from evaluate.reports.records import Further, Gap, Measure, Report, ReportContestant, Scale
from evaluate.verified_runs import RunFacts, VerifiedRun
from understudy.statistics.intervals import Estimate, rate

METHODS = {"qlora": "QLoRA", "lora": "LoRA", "lora-8bit": "8-bit LoRA", "full": "full fine-tune"}
DASH = "–"

MEASURES = (
    Measure(
        key="sound",
        name="Style and sense",
        scale="share",
        better="more",
        how="Share of answers that pass every check of a single answer: in style, ended, no echo, copy or loop, on "
        "topic, nearer to its own reference than to half of the others, not far less likely to the base than the "
        "data's own answer.",
    ),
    Measure(
        key="in_style",
        name="In style",
        scale="share",
        better="more",
        how="Share of answers that a classifier (characters and shape of the text, words of the prompt hidden) takes "
        "for training answers rather than for the base's answers to the same prompts.",
    ),
    Measure(
        key="helpful",
        name="Helpfulness",
        scale="share",
        better="more",
        how="Share of comparisons with the base's answer that it wins, by a judge model or by people's votes; ties "
        "count half.",
    ),
    Measure(
        key="accuracy",
        name="Accuracy",
        scale="share",
        better="more",
        how="Mean share of the other references that an answer is less like in meaning than its own (sentence "
        "embeddings); 50% is chance. It does not see a wrong number or a negation.",
    ),
    Measure(
        key="details",
        name="Details",
        scale="share",
        better="more",
        how="Accuracy with the prompt's words masked in answers and references: naming the topic is not enough.",
    ),
    Measure(
        key="chrf",
        name="Accuracy (chrF)",
        scale="share",
        better="more",
        how="The same by common characters, without a model.",
    ),
    Measure(
        key="fluency",
        name="Fluency",
        scale="number",
        better="less",
        how="By how much the base finds the answers less likely than the data's own, in nats per token; babble is far "
        "above 0. Repetition is likely, so it is measured apart.",
    ),
    Measure(
        key="made_up",
        name="Made-up words",
        scale="share",
        better="less",
        how="Share of words that are in no word list, training answer or prompt.",
    ),
    Measure(
        key="on_topic",
        name="On topic",
        scale="share",
        better="more",
        how="Share of answers that name what was asked about, where the held-out rows say what that is.",
    ),
    Measure(
        key="stopped",
        name="Ends by itself",
        scale="share",
        better="more",
        how="Share of answers that ended by themselves before the limit of tokens.",
    ),
    Measure(
        key="no_echo",
        name="No echo",
        scale="share",
        better="more",
        how="Share of answers that do not begin by repeating the prompt (four fifths of its word triples).",
    ),
    Measure(
        key="copied",
        name="Copied",
        scale="share",
        better="less",
        how="Share of answers that are, whole or nearly, a training answer to another prompt.",
    ),
    Measure(
        key="loss",
        name="Loss",
        scale="number",
        better="less",
        how="How unlikely the model finds the data's own answers to the held-out prompts, in nats per token; "
        "a perfect guess is 0.",
    ),
    Measure(
        key="code_parses",
        name="Code parses",
        scale="share",
        better="more",
        how="Share of answers with Python in them, as far as Python can read it.",
    ),
    Measure(
        key="code_runs",
        name="Code runs",
        scale="share",
        better="more",
        how="Share of answers whose code runs to its end in a sandbox: no error, in time.",
    ),
    Measure(
        key="code_chrf",
        name="Code like the data's",
        scale="count",
        better="more",
        how="chrF, 0 to 100, of the code against that of the data's own answer; comments and layout apart.",
    ),
    Measure(key="words", name="Words", scale="count", better="", how="Mean number of words of an answer."),
)


def share(value: float) -> str:
    """A share from 0 to 1 as a percentage."""
    return f"{value:.0%}"


def number(value: float) -> str:
    """Two decimals, or one from ten on; never minus zero."""
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.removeprefix("-") if not text.strip("-0.") else text.replace("-", "−")


def shown(figure: Estimate | float | None, scale: Scale) -> tuple[str, str]:
    """The figure and its interval as texts; a dash where there is none, no interval for a plain number."""
    if figure is None:
        return DASH, ""
    write = {"share": share, "number": number, "count": lambda value: f"{value:.1f}"}[scale]
    if not isinstance(figure, Estimate):
        return write(figure), ""
    if scale == "share":
        return share(figure.value), f"{100 * figure.low:.0f} to {100 * figure.high:.0f}"
    return write(figure.value), f"{write(figure.low)} to {write(figure.high)}"


def reasons_to_pass(card: ReportCard) -> tuple[str, ...]:
    """What a passing adapter showed, each figure beside what was asked."""
    mine, base, t = card.contestants["adapter"], card.contestants["base"], card.thresholds
    said = [
        f"{share(mine.in_style.value)} of its answers are in style ({share(t.in_style)} were asked, the base has "
        f"{share(base.in_style.value)})"
    ]
    ends = f"{share(mine.stopped.value)} end by themselves ({share(t.stopped)} were asked)"
    topic = f"{share(mine.on_topic.value)} are on topic ({share(t.on_topic)} were asked), " if mine.on_topic else ""
    said.append(topic + ends)
    accurate, fluent = mine.accuracy.meaning, mine.fluency
    words = f", {fluent.made_up.value:.1%} of its words do not exist" if fluent.made_up else ""
    said.append(
        f"it makes sense: nearer to its own reference than to {share(accurate.value)} of the others "
        f"({share(t.accuracy)} were asked), {shown(fluent.excess, 'number')[0]} nats a token above the data's own "
        f"answers (at most {t.surprise:g}){words}"
    )
    said.append(f"{share(card.copied.value)} are copied from training answers (at most {share(t.copied)} may be)")
    said.append(_gain(card))
    return tuple(said)


def further(cards: Sequence[ReportCard]) -> tuple[Further, ...]:
    """The figures of the trained contestants; one that no run has is left out."""
    rows = (
        _further("Loss below the base's", "number", "Mean difference by prompt.", [p.against_base for p in cards]),
        _further(
            "Loss on training rows",
            "number",
            "Far below the loss on held-out rows, it has learnt rows rather than a voice.",
            [p.training_loss for p in cards],
        ),
        _further(
            "Known by heart",
            "share",
            "Share of training prompts answered word for word as their rows do.",
            [p.memorised for p in cards],
        ),
        _further(
            "Acts where it is served",
            "share",
            "Share of the data's answers that it finds more or less likely than the base does.",
            [p.acts for p in cards],
        ),
        _further(
            "Different word pairs",
            "share",
            "Distinct pairs of words over all pairs, of its answers.",
            [p.diversity.answers.distinct_2 for p in cards],
        ),
        _further(
            "Different word pairs, training answers",
            "share",
            "The same of as many training answers, to compare with.",
            [p.diversity.training.distinct_2 for p in cards],
        ),
        _further(
            "Loss added on neutral text",
            "number",
            "On texts that no model wrote, in nats per token: what was forgotten.",
            [p.forgetting for p in cards],
        ),
        _further(
            "General questions still correct",
            "share",
            "Of those that the base answers correctly, when a plain answer is asked for.",
            [p.general.adapter if p.general else None for p in cards],
        ),
        _further(
            "The same, as people ask the persona",
            "share",
            "Without a system prompt: it may answer in its voice only.",
            [p.general.adapter_voiced if p.general else None for p in cards],
        ),
        _further(
            "The same, base",
            "share",
            "Without a system prompt.",
            [p.general.base_voiced if p.general else None for p in cards],
        ),
        _further(
            "Loss added by serving",
            "number",
            "On the base as it is served, less on the base as it was quantised in training.",
            [p.parity for p in cards],
        ),
        _further(
            "Style classifier right",
            "share",
            "Cross-validated on prompts it did not see; where the low end is not above 50% its scores say nothing.",
            [p.style_accuracy for p in cards],
        ),
    )
    return tuple(row for row in rows if any(figure is not None for figure in row.figures))


def limits(runs: Sequence[VerifiedRun], contestants: Sequence[ReportContestant]) -> tuple[str, ...]:
    """What to keep in mind with these figures, most important first."""
    n = runs[0].card.prompts
    half = rate(n // 2, n)
    said = [
        f"There are {n} held-out prompts: a share near one half is uncertain by {(half.high - half.low) * 50:.0f} "
        "points either way, and smaller differences cannot be seen.",
        "All answers but imported ones are sampled as the base's generation_config.json says, with a fixed seed "
        "(greedy where it says nothing), one a prompt; another seed gives other answers.",
        "Intervals hold 95% and say how much depends on the prompts that were asked, not on the seed of the training. "
        "The verdict compares the figures themselves with the thresholds, not the ends of their intervals.",
        "The style classifier knows the training answers and the base's. Of any other system it says which of the two "
        "an answer is nearer to, not how good it is.",
        "Accuracy is likeness to one reference among others: a fluent answer with a wrong number passes. Only a judge "
        "model or people say whether an answer helps.",
    ]
    if not runs[0].card.style_accuracy.low > 0.5:
        said.insert(0, "The style classifier cannot tell training answers from the base's: ignore the style figures.")
    if len({run.record.model_dump_json(include={"training", "base_on_training"}) for run in runs}) > 1:
        said.append("The runs differ in data or base, so each is scored by a style classifier of its own.")
    if len({tuple(row.prompt for row in run.record.heldout) for run in runs}) > 1:
        said.append("The runs were not asked the same held-out prompts: compare their figures with care.")
    if any(one.kind == "imported" for one in contestants):
        said.append(
            "Imported answers were collected elsewhere, with settings that are not known here; accuracy, fluency, a "
            "loss, and whether they ended by themselves, are not measured of them."
        )
    for one in contestants:
        if one.kind == "imported" and one.asked < n:
            said.append(f"The figures of {one.name} rest on {one.asked} of {n} held-out prompts.")
    return tuple(said)


def outcome(report: Report) -> str:
    """All verdicts in a word or two, for a title."""
    passed = sum(verdict.passed for verdict in report.verdicts)
    if len(report.verdicts) == 1:
        return "passed" if passed else "refused"
    return f"{passed} of {len(report.verdicts)} passed"


def made_with(report: Report) -> str:
    """When and with what the report was made."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"Made by understudy report on {report.made_on}{' with ' if versions else ''}{versions}."


def ways_apart(gap: Gap) -> list[tuple[str, tuple[str, ...]]]:
    """What could not be matched of an imported system, each in words with its number and the prompts."""
    ways = (
        (f"Prompts without an answer in {gap.file}: {len(gap.unanswered)}", gap.unanswered),
        (f"Prompts in {gap.file} that are not in this report: {len(gap.unmatched)}", gap.unmatched),
    )
    return [(what, prompts) for what, prompts in ways if prompts]


def method_name(facts: RunFacts) -> str:
    """How a run trained, for people."""
    return METHODS.get(facts.method, facts.method or "adapter")


def explanations(report: Report) -> tuple[tuple[str, str], ...]:
    """Each figure's name and how it is measured, in one sentence."""
    how = "95%: Wilson's for shares of prompts, else the bias-corrected and accelerated bootstrap over prompts."
    return (*((one.name, one.how) for one in (*report.measures, *report.further)), ("Intervals", how))


def _gain(card: ReportCard) -> str:
    against = card.against_base
    if against.low <= 0:
        return "its loss on held-out answers is not clearly below the base's"
    value, interval = shown(against, "number")
    return f"its loss on held-out answers is {value} nats a token ({interval}) below the base's"


def _further(name: str, scale: Scale, how: str, figures: Sequence[Estimate | float | None]) -> Further:
    return Further(name=name, scale=scale, how=how, figures=tuple(figures))
