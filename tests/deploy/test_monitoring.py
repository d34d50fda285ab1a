"""The monitoring files: every name in them exists, and the tools that read them accept them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.metrics import Metrics
from understudy.config.settings import PROJECT

DEPLOY = PROJECT / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "understudy.json").read_text())
RULES = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
SCRAPES = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]

OF_ENGINE = {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"}
"""What the dashboard shows of vLLM's own metrics."""

RULE_TESTS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'understudy_rejects_total{{persona="new",stage="probe"}}', values: '_x5 1x40'}}
      - {{series: 'understudy_rejects_total{{persona="old",stage="load"}}', values: '0x5 1x40'}}
      - {{series: 'understudy_rejects_total{{persona="calm",stage="load"}}', values: '1x40'}}
      - {{series: 'understudy_requests_waiting{{persona="a",revision="b"}}', values: '0+5x60'}}
    alert_rule_test:
      - alertname: UnderstudyPublishRefused
        eval_time: 30m
        exp_alerts: []
      - alertname: UnderstudyQueueGrows
        eval_time: 30m
        exp_alerts:
          - exp_labels: {{severity: ticket}}
            exp_annotations:
              summary: "150 requests wait for their first token, and it becomes more."
              action: "More comes in than the engine answers: lower the keys' limits, or add an engine."
    promql_expr_test:
      - expr: 'count by (persona) (ALERTS{{alertname="UnderstudyPublishRefused", persona=~"new|old"}})'
        eval_time: 10m
        exp_samples:
          - {{labels: '{{persona="new"}}', value: 1}}
          - {{labels: '{{persona="old"}}', value: 1}}
"""


def known_names() -> set[str]:
    """Every sample's name that the gateway can give."""
    metrics = Metrics()
    metrics.prepare("poet", "3fa9c1d2e4b5")
    with metrics.watch("poet", "3fa9c1d2e4b5") as watch:
        watch.done(200)
    metrics.swapped("poet", "publish", 1.0)
    metrics.canary("poet", 0.1)
    metrics.canary_decided("poet", "promoted")
    metrics.key_used("1a2b3c4d")
    metrics.polled("poet", "same", failing=False)
    metrics.on_demand("loaded")
    page = metrics.render()[0].decode()
    return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in page.splitlines() if not line.startswith("#")}


def names(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads."""
    return set(re.findall(r"\b(?:understudy_|process_|vllm:)\w+", expression))


def panels() -> Iterator[dict[str, Any]]:
    for panel in BOARD["panels"]:
        yield from [panel, *panel.get("panels", [])]


def board_expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    marks = [mark["expr"] for mark in BOARD["annotations"]["list"]]
    return shown + marks + [v["definition"] for v in BOARD["templating"]["list"] if v["type"] == "query"]


def promtool(*arguments: str | Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on PATH; it comes with Prometheus")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_reads_metrics_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert names(rule["expr"]) <= known_names()
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["action"].endswith(".")


def test_every_metric_on_the_dashboard_exists() -> None:
    used = set().union(*(names(expression) for expression in board_expressions()))
    assert used - OF_ENGINE <= known_names()
    assert used >= OF_ENGINE


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    used = set().union(*(names(expression) for expression in board_expressions()))
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_names() if name.startswith("understudy_")}
    assert ours <= {re.sub(r"_bucket$", "", name) for name in used}


def test_every_metric_is_explained_in_the_readme() -> None:
    told = set(re.findall(r"`(\w+)`", (DEPLOY / "README.md").read_text()))
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_names() if name.startswith("understudy_")}
    assert {name.removeprefix("understudy_") for name in ours} <= told


def test_every_panel_has_a_title_a_unit_and_a_place_of_its_own() -> None:
    ids, places = set(), set()
    for panel in panels():
        assert panel["title"]
        ids.add(panel["id"])
        place = panel["gridPos"]
        places |= {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in [place["y"]]}
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["description"]
            assert panel["targets"]
    assert len(ids) == len(list(panels()))
    assert len(places) == sum(panel["gridPos"]["w"] for panel in panels())


def test_the_dashboard_follows_its_variables_and_marks_swaps() -> None:
    assert {variable["name"] for variable in BOARD["templating"]["list"]} == {"datasource", "persona"}
    sources = [panel["datasource"]["uid"] for panel in panels() if panel["type"] != "row"]
    assert set(sources) == {"${datasource}"}
    assert any("understudy_publishes_total" in mark["expr"] for mark in BOARD["annotations"]["list"])


def test_counters_are_rated_before_they_are_summed() -> None:
    """A sum of plain counters falls when a revision's series end, and rate() would take that for a restart."""
    for expression in [*board_expressions(), *(rule["expr"] for rule in RULES)]:
        assert not re.search(r"(rate|increase)\(\s*sum", expression), expression
        assert not re.search(r"sum(\s+by\s*\([^)]*\))?\s*\(\s*\w+_total\b", expression), expression


def test_prometheus_reads_both_pages_with_a_key_from_a_file() -> None:
    assert [scrape["metrics_path"] for scrape in SCRAPES] == ["/metrics", "/metrics/engine"]
    assert {scrape["authorization"]["credentials_file"] for scrape in SCRAPES} == {"metrics.key"}
    assert "metrics.key" in (DEPLOY / ".gitignore").read_text().split()
    assert all("credentials" not in scrape["authorization"] for scrape in SCRAPES)
    assert [scrape["file_sd_configs"] for scrape in SCRAPES] == 2 * [[{"files": ["targets.yml"]}]]
    assert yaml.safe_load((DEPLOY / "targets.yml").read_text()) == [{"targets": ["localhost:8000"]}]


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "grafana" / "provisioning").rglob("*.yml")), ids=lambda p: p.parent.name
)
def test_provisioning_is_of_the_version_that_grafana_reads(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["apiVersion"] == 1


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", DEPLOY / "alerts.yml")


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml", "targets.yml"):
        shutil.copy(DEPLOY / name, tmp_path)
    (tmp_path / "metrics.key").write_text("a key")
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [
        expression.replace("$__rate_interval", "1m").replace("$persona", ".*") for expression in board_expressions()
    ]
    rules = [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(expressions) if not e.startswith("label_values")]
    path = tmp_path / "board.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", path)


def test_a_first_refusal_and_a_growing_queue_raise_their_alerts(tmp_path: Path) -> None:
    path = tmp_path / "rules_test.yml"
    path.write_text(RULE_TESTS.format(rules=DEPLOY / "alerts.yml"))
    promtool("test", "rules", path)
