"""Which tables docs/performance.md, docs/export.md and docs/training.md have."""

from collections.abc import Iterable
from statistics import fmean

from bench.arena.scale import exponent, shown
from bench.page_columns import Column, Row, Table, grouped, named, of, pairs, share, yes
from bench.training.learning_rates import TIMES


def _growth(result: Row) -> Iterable[Row]:
    """What each thing costs at its smallest and its largest size, on each database and with a real engine."""
    found = {**result["databases"], "gateway and engine": result["stage"] and {"personas": result["stage"]}}
    for place, parts in found.items():
        for part, lines in (parts or {}).items():
            for what, points in lines.items():
                (least, before), (most, after) = points[0], points[-1]
                yield {
                    "where": place,
                    "what": what,
                    "least": f"{shown(before, what)} at {least:,} {part}",
                    "most": f"{shown(after, what)} at {most:,}",
                    "exponent": exponent(points),
                }


def _rates(result: Row) -> Iterable[Row]:
    """The mean held-out loss at each rate, of recipes whose every rate was tried with the same seeds."""
    runs = list(result["runs"].values())
    for recipe in dict.fromkeys(run["recipe"] for run in runs):
        own = [run for run in runs if run["recipe"] == recipe]
        losses = {times: {run["seed"]: run["losses"][-1] for run in own if run["times"] == times} for times in TIMES}
        seeds = losses[1.0].keys()
        if all(found.keys() == seeds for found in losses.values()):
            means = {times: fmean(found.values()) for times, found in losses.items()}
            above = means[1.0] / min(means.values()) - 1
            yield {"recipe": recipe, "rows": own[0]["rows"], "seeds": len(seeds), "means": means, "above": above}


EXPORTS = (
    Column("persona", "persona"),
    Column("form", "form"),
    Column("asked of", "runtime"),
    Column("prompts as ours", of("prompts_equal", "prompts")),
    Column("next tokens as ours", share("tokens_agree", "tokens"), "{:.1%}"),
    Column("ends as ours", of("ended_agree", "ended")),
    Column("less in style than ours", of("styled_less", "styled")),
    Column("more in style", of("styled_more", "styled")),
    Column("answers word for word", of("answers_equal", "prompts")),
    Column("written in, s", "writing_s", "{:.1f}"),
    Column("refused", "reasons"),
)

TABLES = {
    "scale": Table(
        "scale",
        "python -m bench.arena.scale",
        (
            Column("where", "where"),
            Column("what", "what"),
            Column("with few", "least"),
            Column("with many", "most"),
            Column("exponent at the end", "exponent", "{:.2f}"),
        ),
        _growth,
    ),
    "rank-file": Table(
        "ranking",
        "python -m bench.arena.ranking",
        (
            Column("what", "what"),
            Column("seconds", "seconds", "{:.1f}"),
            Column("most resident, MiB", "most_mib", "{:,.0f}"),
        ),
        lambda result: result.get("files", {}).get("rows", []),
    ),
    "evaluation": Table(
        "evaluation",
        "python -m bench.serving.evaluation",
        (
            Column("asked", "when"),
            Column("questions", "questions"),
            Column("first token p50, ms", "first_token_ms_p50", "{:.0f}"),
            Column("p90, ms", "first_token_ms_p90", "{:.0f}"),
        ),
        lambda result: [{"when": when, **result[when]} for when in ("alone", "beside")],
    ),
    "serve": Table(
        "serve",
        "python -m bench.serving.gateway",
        (
            Column("at once", "concurrency"),
            Column("streamed", yes("stream")),
            Column("direct, tokens/s", "direct.tokens_per_second", "{:,.0f}"),
            Column("gateway, tokens/s", "gateway.tokens_per_second", "{:,.0f}"),
            Column("ratio", "throughput_ratio", "{:.3f}"),
            Column("first token, ms more", "first_token_added_ms", "{:.1f}"),
            Column("gateway CPU, µs a piece", "gateway_cpu_us_per_piece", "{:.0f}"),
        ),
        based=True,
    ),
    "swap": Table(
        "swap",
        "python -m bench.serving.swap",
        (
            Column("way", "way"),
            Column("swaps", "swaps"),
            Column("to the first token, s", "first_token_s", "{:.2f}"),
            Column("longest wait of a person, s", "longest_wait_s", "{:.2f}"),
            Column("failed requests", "failed_requests"),
            Column("answers across the swap that are neither voice's whole", "mixed_answers"),
            Column("of answers", "answers"),
        ),
        lambda result: result["ways"],
        based=True,
    ),
    "persona": Table(
        "persona",
        "python -m bench.persona",
        (Column("what", "name"), Column("seconds", "value", "{:.1f}")),
        pairs("median_seconds"),
    ),
    "first-run": Table(
        "first-run",
        "python -m bench.first_run",
        (Column("what", "name"), Column("seconds", "value", "{:.1f}")),
        pairs("seconds"),
    ),
    "startup": Table(
        "startup",
        "python -m bench.startup",
        (Column("command", "name"), Column("seconds", "value", "{:.2f}")),
        pairs("commands"),
    ),
    "memory": Table(
        "startup",
        "python -m bench.startup",
        (
            Column("process of the demo", "what"),
            Column("MiB (PSS)", "mib", "{:,.0f}"),
            Column("most resident", "most_mib", "{:,.0f}"),
        ),
        lambda result: result["demo"]["processes"],
    ),
    "cpu-lora": Table(
        "cpu-lora",
        "python -m bench.serving.cpu_lora",
        (
            Column("shapes", "model"),
            Column("what", "what"),
            Column("tokens", "tokens"),
            Column("adapters", "adapters"),
            Column("base, ms", "base_ms", "{:.2f}"),
            Column("vLLM's own LoRA, ms", "vllm_ms", "{:,.1f}"),
            Column("plugin, ms", "plugin_ms", "{:.2f}"),
            Column("plugin / vLLM", "plugin_over_vllm", "{:.1f}x"),
        ),
        lambda result: result["shapes"],
    ),
    "peers-serving": Table(
        "peers-serving",
        "python -m bench.serving.peers_serving",
        (
            Column("adapters", lambda row: row["adapters"] or "base"),
            Column("at once", "concurrency"),
            Column("server", "server"),
            Column("tokens/s", "tokens_per_second", "{:,.0f}"),
            Column("of ours", "of_ours", "{:.2f}"),
            Column("first token p50, ms", "first_token_p50_ms", "{:,.0f}"),
            Column("p99", "first_token_p99_ms", "{:,.0f}"),
            Column("between tokens p50, ms", "between_tokens_p50_ms", "{:.1f}"),
            Column("failed", "failures"),
        ),
        grouped,
        based=True,
    ),
    "peers-servers": Table(
        "peers-serving",
        "python -m bench.serving.peers_serving",
        (
            Column("server", "name"),
            Column("version", "version"),
            Column("adapters that it had", "adapters"),
            Column("MiB, shared pages counted once (PSS)", "pss_mib", "{:,}"),
            Column("MiB resident (RSS)", "rss_mib", "{:,}"),
        ),
        named("servers"),
        based=True,
    ),
    "train": Table(
        "train",
        "python -m bench.training.train",
        (
            Column("case", "case"),
            Column("trainer", "way"),
            Column("rounds", "rounds"),
            Column("tokens/s", "tokens_per_second", "{:,.0f}"),
            Column("of tuned TRL", "of_tuned", "{:.2f}"),
            Column("in the worst round", "of_tuned_least", "{:.2f}"),
            Column("peak MiB, all processes", "peak_memory_mib", "{:,.0f}"),
            Column("to the first step, s", "first_step_s", "{:.1f}"),
            Column("to an adapter, s", "to_adapter_s", "{:.1f}"),
            Column("held-out loss", "heldout_loss", "{:.3f}"),
            Column("why not", "reason"),
        ),
        based=True,
    ),
    "exports": Table("exports", "python -m bench.exports", EXPORTS, based=True),
    "exports-page": Table("exports-page", "python -m bench.exports", EXPORTS, based=True),
    "learning-rates": Table(
        "learning-rates",
        "python -m bench.training.learning_rates email-copy stand-up code-qa",
        (
            Column("recipe", "recipe"),
            Column("rows", "rows"),
            Column("seeds", "seeds"),
            *(Column(f"× {times:g}", lambda row, times=times: row["means"][times], "{:.3f}") for times in TIMES),
            Column("auto above the best", "above", "{:.1%}"),
        ),
        _rates,
    ),
    "web": Table(
        "web",
        "python -m bench.space.web FOLDER",
        (
            Column("visit", "visit"),
            Column("threads", "threads"),
            Column("ready after the bytes are there, s", "ready", "{:.1f}"),
            Column("first token p50, s", "first_token_s", "{:.2f}"),
            Column("tokens/s", "tokens_per_second", "{:.1f}"),
            Column("switch, ms", "switch_ms", "{:.1f}"),
            Column("MB fetched", "megabytes", "{:.1f}"),
        ),
        based=True,
    ),
    "zerogpu": Table(
        "zerogpu",
        "python -m bench.space.first_token",
        (
            Column("asked", "asked"),
            Column("first token p50, s", "first_token", "{:.2f}"),
            Column("the slowest, s", "first_token_worst", "{:.2f}"),
            Column("tokens/s of a side", "tokens_per_second", "{:.1f}"),
        ),
        lambda result: [{"asked": kind, **row} for kind, row in result["measured"].items()],
        based=True,
    ),
    "zerogpu-battles": Table(
        "zerogpu",
        "python -m bench.space.first_token",
        (
            Column("base", "base"),
            Column("step, ms", "step_ms"),
            *(
                Column(f"{tokens} tokens", lambda row, tokens=tokens: row["seconds"][str(tokens)], "{:.1f}")
                for tokens in (64, 100, 123, 256)
            ),
        ),
        lambda result: result["battles"],
    ),
    "gpu": Table(
        "gpu",
        "bench/gpu.sh",
        (
            Column("adapters", lambda row: row["adapters"] or "base"),
            Column("at once", "concurrency"),
            Column("server", "server"),
            Column("tokens/s", "tokens_per_second", "{:,.0f}"),
            Column("first token p50, ms", "first_token_p50_ms", "{:,.0f}"),
            Column("p99", "first_token_p99_ms", "{:,.0f}"),
            Column("failed", "failures"),
        ),
        lambda result: grouped(result["serving"] or {"rows": []}),
    ),
}
