"""The tables of metrics follow the rules of Prometheus, match the document, and processes share them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observability.metrics import COUNTED, STATE, Metric, Metrics
from deploy.local.stack import ROLES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = (ROOT / "docs/observability.md").read_text()
# Run twice to count in two processes; SHOWING prints the counts of both.
COUNTING = """
from app.observability.metrics import Metrics
metrics = Metrics()
metrics.count("deliveries_total", "mail", "sent", by=2)
metrics.time("task_duration_seconds", "a.task", seconds=0.3)
metrics.show("relay_lag_seconds", 7)
"""
SHOWING = """
from app.observability.metrics import Metrics
print(Metrics().text({"steps_overdue": {(): 3}}).decode())
"""


def row(name: str, metric: Metric) -> str:
    """The row of a metric in the document."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{name}` | {metric.kind} | {labels} | {metric.of} | {metric.means} |"


def test_the_document_describes_every_metric() -> None:
    rows = re.findall(r"(?m)^\| `\w+` \| (?:counter|gauge|histogram) \|.*$", DOCUMENT)
    assert rows == [row(*one) for one in (*COUNTED.items(), *STATE.items())]


@pytest.mark.parametrize(("name", "metric"), [*COUNTED.items(), *STATE.items()])
def test_the_name_of_a_metric_shows_its_kind_and_unit(name: str, metric: Metric) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert name.endswith("_total") == (metric.kind == "counter")
    assert name.endswith("_seconds") or metric.kind != "histogram"
    assert list(metric.buckets) == sorted(metric.buckets)
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert set(metric.of.split(", ")) <= set(ROLES)
    assert metric.means.endswith(".")


def test_the_counts_of_a_process_remain_after_its_end(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "new" / "folder")}

    def run(program: str) -> str:
        done = subprocess.run([sys.executable, "-c", program], env=environ, check=True, capture_output=True)
        return done.stdout.decode()

    run(COUNTING)
    run(COUNTING)
    families = {family.name: family for family in text_string_to_metric_families(run(SHOWING))}
    assert [(s.labels, s.value) for s in families["deliveries"].samples] == [
        ({"channel": "mail", "outcome": "sent"}, 4)
    ]
    (count,) = [s.value for s in families["task_duration_seconds"].samples if s.name.endswith("_count")]
    assert count == 2
    assert [(s.labels, s.value) for s in families["relay_lag_seconds"].samples] == [({}, 7)]
    assert [s.value for s in families["steps_overdue"].samples] == [3]


def test_a_process_shows_only_metrics_that_it_has_counted() -> None:
    assert Metrics().text({}) == b""
