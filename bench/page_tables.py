"""Which tables docs/performance.md has: their result, their rows, their columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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


def _of_tuned(result: Row) -> Iterable[Row]:
    """Rows of bench.train with their share of the speed of tuned TRL."""
    tuned = {row["case"]: row["tokens_per_second"] for row in result["rows"] if row["way"] == "TRL tuned"}
    return [{**row, "ratio": row["tokens_per_second"] / tuned[row["case"]]} for row in result["rows"]]


TABLES = {
    "serve": Table(
        "serve",
        "python -m bench.serve",
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
    "train": Table(
        "train",
        "python -m bench.train",
        (
            Column("method", "case"),
            Column("trainer", "way"),
            Column("tokens/s", "tokens_per_second", "{:,.0f}"),
            Column("of tuned TRL", "ratio", "{:.2f}"),
            Column("peak MiB", "peak_memory_mib", "{:,.0f}"),
            Column("first step, s", "first_step_s", "{:.1f}"),
            Column("mean loss", "mean_loss", "{:.2f}"),
        ),
        _of_tuned,
    ),
    "cpu-lora": Table(
        "cpu-lora",
        "python -m bench.cpu_lora",
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
        "python -m bench.cpu_lora --engine",
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
            *({"engine": "embedded base, 16 chats at once", **row} for row in result["engine"]),
            *({"engine": "0.5B shape, prompts of 512 tokens", **row} for row in result["engine_half_billion"]),
        ],
    ),
}
