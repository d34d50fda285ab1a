"""What `understudy report` and `understudy compare` show of what they wrote."""

from understudy.cli.console import out
from understudy.workflows.evaluation.compare_profiles import PROFILES, PROMPTS, WrittenComparison
from understudy.workflows.evaluation.report import WrittenReport


def show_report(written: WrittenReport) -> None:
    """Prints the outcome, what could not be matched, and the files."""
    from evaluate.reports.wording import outcome, unmatched

    report = written.report
    asked = f"{len(report.contestants)} contestants on {report.prompts} held-out prompts"
    out.print(f"{report.title}: {outcome(report)}; {asked}")
    for gap in report.gaps:
        for what, prompts in unmatched(gap):
            named = ", ".join(repr(prompt[:60]) for prompt in prompts[:3])
            more = ", ..." if len(prompts) > 3 else ""
            out.print(f"{gap.system}: {what} ({named}{more})", style="yellow")
    for path in written.pages:
        out.print(str(path))


def show_comparison(written: WrittenComparison) -> None:
    """Prints the findings for each contestant, what is missing, and the files."""
    from evaluate.profiles.wording import how_asked

    comparison, folder = written.comparison, written.folder
    out.print(how_asked(comparison))
    names = {one.key: one.name for one in comparison.contestants}
    for key, sentences in comparison.findings:
        out.print(names[key], style="bold")
        for sentence in sentences:
            out.print(f"  {sentence}")
    for gap in comparison.gaps:
        missing = f"{len(gap.unanswered)} prompts without a profile, {len(gap.unmatched)} not asked here"
        out.print(f"{gap.system}: {missing}; {folder / PROMPTS} has the prompts", style="yellow")
    for path in ("report.md", PROFILES, PROMPTS):
        out.print(str(folder / path))
