"""Which tables docs/performance.md has: their result, their rows, their columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.arena.scale import exponent, shown

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column; `value` is a key, a path of keys with dots, or a function of the row."""

    title: str
    value: str | Callable[[Row], Any]
    form: str = "{}"

    def cell(self, row: Row) -> str:
        """The figure in words; a dash where the row has none."""
        found = self.value(row) if callable(self.value) else _follow(row, self.value)
        return "-" if found is None else self.form.format(found)


@dataclass(frozen=True)
class Table:
    """A table of the page, made from `docs/results/<result>.json` by `command`."""

    result: str
    command: str
    columns: tuple[Column, ...]
    rows: Callable[[Row], Iterable[Row]] = lambda result: result["rows"]


def _follow(row: Row, path: str) -> Any:
    found: Any = row
    for key in path.split("."):
        found = None if found is None else found.get(key)
    return found


def _yes(key: str) -> Callable[[Row], str]:
    return lambda row: "yes" if row[key] else "no"


def _grouped(result: Row) -> Iterable[Row]:
    return sorted(result["rows"], key=lambda row: (row["adapters"], row["concurrency"]))


def _named(key: str) -> Callable[[Row], Iterable[Row]]:
    """Rows of a mapping from a name to figures."""
    return lambda result: [{"name": name, **about} for name, about in result[key].items()]


def _pairs(*keys: str) -> Callable[[Row], Iterable[Row]]:
    """Rows of a mapping from a name to a number."""

    def rows(result: Row) -> Iterable[Row]:
        for key in keys:
            result = result[key]
        return [{"name": name, "value": value} for name, value in result.items()]

    return rows


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


def _of_tuned(result: Row) -> Iterable[Row]:
    """Rows of bench.training.train with their share of the speed of TRL tuned by hand.

    The share is of the medians where an older result does not have it round by round."""
    tuned = {row["case"]: row.get("tokens_per_second") for row in result["rows"] if "tuned" in row["way"]}
    return [
        {"of_tuned": row["tokens_per_second"] / tuned[row["case"]], **row}
        if row.get("tokens_per_second") and tuned.get(row["case"])
        else row
        for row in result["rows"]
    ]


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
    "serve": Table(
        "serve",
        "python -m bench.serving.gateway",
        (
            Column("at once", "concurrency"),
            Column("streamed", _yes("stream")),
            Column("direct, tokens/s", "direct.tokens_per_second", "{:,.0f}"),
            Column("gateway, tokens/s", "gateway.tokens_per_second", "{:,.0f}"),
            Column("ratio", "throughput_ratio", "{:.3f}"),
            Column("first token, ms more", "first_token_added_ms", "{:.1f}"),
            Column("gateway CPU, µs a piece", "gateway_cpu_us_per_piece", "{:.0f}"),
        ),
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
            Column("first token, ms", "first_token", "{:,.0f}"),
            Column("between tokens p50, ms", "between_p50", "{:.1f}"),
            Column("p99", "between_p99", "{:.1f}"),
            Column("CPU ms a token", "cpu_ms_per_token", "{:.2f}"),
            Column("failed", "failures"),
        ),
        _grouped,
    ),
    "peers-servers": Table(
        "peers-serving",
        "python -m bench.serving.peers_serving",
        (
            Column("server", "name"),
            Column("version", "version"),
            Column("MiB with 32 adapters", "memory_mib", "{:,}"),
            Column("CPU when idle, %", "idle_cpu_percent", "{:.0f}"),
            Column("greedy answers word for word ours", "answers_as_ours"),
        ),
        _named("servers"),
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
    ),
    "train": Table(
        "train",
        "python -m bench.training.train",
        (
            Column("case", "case"),
            Column("trainer", "way"),
            Column("tokens/s", "tokens_per_second", "{:,.0f}"),
            Column("of tuned TRL", "of_tuned", "{:.2f}"),
            Column("peak MiB, all processes", "peak_memory_mib", "{:,.0f}"),
            Column("to the first step, s", "first_step_s", "{:.1f}"),
            Column("to an adapter, s", "to_adapter_s", "{:.1f}"),
            Column("held-out loss", "heldout_loss", "{:.3f}"),
            Column("why not", "reason"),
        ),
        _of_tuned,
    ),
    "persona": Table(
        "persona",
        "python -m bench.persona",
        (Column("what", "name"), Column("seconds", "value", "{:.1f}")),
        _pairs("median_seconds"),
    ),
    "first-run": Table(
        "first-run",
        "python -m bench.first_run",
        (Column("what", "name"), Column("seconds", "value", "{:.1f}")),
        _pairs("seconds"),
    ),
    "startup": Table(
        "startup",
        "python -m bench.startup",
        (Column("command", "name"), Column("seconds", "value", "{:.2f}")),
        _pairs("commands"),
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
    "cpu-lora-engine": Table(
        "cpu-lora",
        "python -m bench.serving.cpu_lora",
        (
            Column("engine", "engine"),
            Column("adapters by", lambda row: "our plugin" if row["plugin"] else "vLLM's own"),
            Column("base, tokens/s", "base", "{:,.0f}"),
            Column("one adapter", "one", "{:,.0f}"),
            Column("six adapters", "six", "{:,.0f}"),
            Column("one / base", "one_over_base", "{:.2f}"),
            Column("six / base", "six_over_base", "{:.2f}"),
        ),
        lambda result: [
            *({"engine": "tiny base, 16 chats at once", **row} for row in result["engine"]),
            *({"engine": "0.5B shape, prompts of 512 tokens", **row} for row in result["engine_half_billion"]),
        ],
    ),
}
