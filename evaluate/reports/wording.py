"""The sentences of a report: what is measured and how, why an adapter passed, and what the figures cannot say."""

from collections.abc import Mapping, Sequence

from evaluate.report_card import ReportCard
from evaluate.reports.records import Gap, Measure, Report, ReportContestant, Scale
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
        how="Share of comparisons with the base's answer that it wins, according to a judge model or people's votes; "
        "ties count half.",
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
        how="The same by characters in common, without a model.",
    ),
    Measure(
        key="fluency",
        name="Fluency",
        scale="number",
        better="less",
        how="How much more the answers surprise the base than the data's own answers do, in nats per token: babble is "
        "far above 0, below 0 the answers are the less surprising ones. Repetition never surprises, so it is measured "
        "separately.",
    ),
    Measure(
        key="made_up",
        name="Made-up words",
        scale="share",
        better="less",
        how="Share of words found in no word list, training answer or prompt.",
    ),
    Measure(
        key="on_topic",
        name="On topic",
        scale="share",
        better="more",
        how="Share of answers that name what was asked about, for held-out rows that say what that is.",
    ),
    Measure(
        key="stopped",
        name="Ends by itself",
        scale="share",
        better="more",
        how="Share of answers that ended by themselves before the token limit.",
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
        how="Mean negative log-likelihood of the data's own answers to the held-out prompts, in nats per token; a "
        "perfect guess is 0.",
    ),
    Measure(
        key="code_parses",
        name="Code parses",
        scale="share",
        better="more",
        how="Share of answers that contain code which Python can parse.",
    ),
    Measure(
        key="code_runs",
        name="Code runs",
        scale="share",
        better="more",
        how="Share of answers whose code runs to its end in a sandbox, in time and without an error.",
    ),
    Measure(
        key="code_chrf",
        name="Code like the data's",
        scale="count",
        better="more",
        how="chrF, 0 to 100, of the code against that of the data's own answer, ignoring comments and layout.",
    ),
    Measure(key="words", name="Words", scale="count", better="", how="Mean number of words of an answer."),
)


def share(value: float) -> str:
    """Formats a share from 0 to 1 as a percentage."""
    return f"{value:.0%}"


def number(value: float) -> str:
    """Formats with two decimals, or one from ten on; never as minus zero."""
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.removeprefix("-") if not text.strip("-0.") else text.replace("-", "−")


def shown(figure: Estimate | float | None, scale: Scale) -> tuple[str, str]:
    """Formats a figure and its interval: a dash for None, no interval for a plain number."""
    if figure is None:
        return DASH, ""
    write = {"share": share, "number": number, "count": lambda value: f"{value:.1f}"}[scale]
    if not isinstance(figure, Estimate):
        return write(figure), ""
    if scale == "share":
        return share(figure.value), f"{100 * figure.low:.0f} to {100 * figure.high:.0f}"
    return write(figure.value), f"{write(figure.low)} to {write(figure.high)}"


def reasons_to_pass(card: ReportCard) -> tuple[str, ...]:
    """Returns what a passing adapter showed, each figure beside its threshold."""
    mine, base, t = card.contestants["adapter"], card.contestants["base"], card.thresholds
    topic = f"{share(mine.on_topic.value)} are on topic ({share(t.on_topic)} were asked), " if mine.on_topic else ""
    accurate, made_up = mine.accuracy.meaning, mine.fluency.made_up
    words = f", {made_up.value:.1%} of its words do not exist" if made_up else ""
    against = card.against_base
    gain = "its loss on held-out answers is not clearly below the base's"
    if against.low > 0:
        value, interval = shown(against, "number")
        gain = f"its loss on held-out answers is {value} nats a token ({interval}) below the base's"
    return (
        f"{share(mine.in_style.value)} of its answers are in style ({share(t.in_style)} were asked, the base has "
        f"{share(base.in_style.value)})",
        f"{topic}{share(mine.stopped.value)} end by themselves ({share(t.stopped)} were asked)",
        f"it makes sense: nearer to its own reference than to {share(accurate.value)} of the others "
        f"({share(t.accuracy)} were asked), {_surprise(mine.fluency.excess, t.surprise)}{words}",
        f"{share(card.copied.value)} are copied from training answers (at most {share(t.copied)} may be)",
        gain,
    )


def _surprise(excess: Estimate | None, most: float) -> str:
    """Says how surprising the answers are to the base, beside the data's own answers and the threshold."""
    if excess is None:
        return "its surprise to the base was not measured"
    if excess.value < 0:
        nats = number(-excess.value)
        return f"{nats} nats a token below the data's own answers (less surprising; at most {most:g} above is allowed)"
    return f"{number(excess.value)} nats a token above the data's own answers (at most {most:g} is allowed)"


def limits(runs: Sequence[VerifiedRun], contestants: Sequence[ReportContestant]) -> tuple[str, ...]:
    """Returns what to keep in mind with these figures, most important first."""
    n = runs[0].card.prompts
    half = rate(n // 2, n)
    found = [
        f"There are {n} held-out prompts: a share near one half is uncertain by {(half.high - half.low) * 50:.0f} "
        "points either way, and smaller differences cannot be seen.",
        "All answers except imported ones are sampled as the base's generation_config.json says, one per prompt with a "
        "fixed seed (greedily where it says nothing); another seed gives other answers.",
        "Intervals are 95% and cover the choice of prompts, not the seed of the training. The verdict compares the "
        "figures themselves with the thresholds, not the ends of their intervals.",
        "The style classifier knows the training answers and the base's. For any other system it says which of the two "
        "an answer is nearer to, not how good it is.",
        "Accuracy is likeness to one reference among others: a fluent answer with a wrong number passes. Only a judge "
        "model or people say whether an answer helps.",
    ]
    if not runs[0].card.style_accuracy.low > 0.5:
        found.insert(0, "The style classifier cannot tell training answers from the base's: ignore the style figures.")
    if len({run.record.model_dump_json(include={"training", "base_on_training"}) for run in runs}) > 1:
        found.append("The runs differ in data or base, so each is scored by a style classifier of its own.")
    if len({tuple(row.prompt for row in run.record.heldout) for run in runs}) > 1:
        found.append("The runs were not asked the same held-out prompts: compare their figures with care.")
    if any(one.kind == "imported" for one in contestants):
        found.append(
            "Imported answers were collected elsewhere, with unknown settings; their accuracy, fluency and loss, and "
            "whether they ended by themselves, are not measured."
        )
    for one in contestants:
        if one.kind == "imported" and one.asked < n:
            found.append(f"The figures of {one.name} rest on {one.asked} of {n} held-out prompts.")
    return tuple(found)


def outcome(report: Report) -> str:
    """Summarizes all verdicts in a word or two, for a title."""
    passed = sum(verdict.passed for verdict in report.verdicts)
    if len(report.verdicts) == 1:
        return "passed" if passed else "refused"
    return f"{passed} of {len(report.verdicts)} passed"


def made_with(command: str, made_on: str, versions: Mapping[str, str]) -> str:
    """Says by which command, when and with which versions a document was made."""
    tools = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Made by understudy {command} on {made_on}{' with ' if versions else ''}{tools}."


def unmatched(gap: Gap) -> list[tuple[str, tuple[str, ...]]]:
    """Returns what could not be matched of an imported system, each kind in words with its prompts."""
    kinds = (
        (f"Prompts without an answer in {gap.file}: {len(gap.unanswered)}", gap.unanswered),
        (f"Prompts in {gap.file} that are not in this report: {len(gap.unmatched)}", gap.unmatched),
    )
    return [(what, prompts) for what, prompts in kinds if prompts]


def method_name(facts: RunFacts) -> str:
    """Names the method of a training for people."""
    return METHODS.get(facts.method, facts.method or "adapter")


def explanations(report: Report) -> tuple[tuple[str, str], ...]:
    """Returns each figure's name and, in a sentence or two, how it is measured."""
    how = "95%: Wilson's for shares of prompts, else the bias-corrected and accelerated bootstrap over prompts."
    return (*((one.name, one.how) for one in (*report.measures, *report.further)), ("Intervals", how))
