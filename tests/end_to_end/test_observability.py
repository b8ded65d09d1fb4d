"""Logs, metrics and traces of the whole service: they are complete and have no personal data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.observability.metrics import COUNTED, STATE
from deploy.local.stack import ROLES, ROOT
from tests.end_to_end.life import Life, Published

if TYPE_CHECKING:
    from collections.abc import Iterator

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
SCRAPES = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
# What Prometheus itself says of every target, and adds to every metric.
OF_PROMETHEUS = {"up": {}}
ADDED = {"job", "instance"}

# The whole life comes before the first test.
pytestmark = pytest.mark.timeout(300)

Exposed = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Life, Published]]:
    """A whole life of a service of its own."""
    with Life(tmp_path_factory.mktemp("life")) as life:
        yield life, life.run()


@pytest.fixture(scope="module")
def exposed(life: tuple[Life, Published]) -> Exposed:
    """The values that each label of each metric really takes, from any process."""
    found: Exposed = {}
    for text in life[1].metrics.values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
    return found


def test_no_secret_address_token_or_name_is_in_logs_metrics_or_traces(life: tuple[Life, Published]) -> None:
    run, published = life
    spans = b"\n".join(published.spans)
    for kind, secret in run.secrets.items():
        for role in ROLES:
            assert not [line for line in published.logs[role].splitlines() if secret in line], (kind, role)
            assert not [line for line in published.metrics[role].splitlines() if secret in line], (kind, role)
        assert secret.encode() not in spans, kind
    assert {"web", "worker"} <= {role for role in ROLES if '"exception"' in published.logs[role]}
    for expected in ("WriteError", "database unavailable", "Invalid request"):
        assert expected in published.logs["web"]
    for expected in ("notification failed", "notification will be tried again", "webhook endpoint is gone"):
        assert expected in published.logs["worker"]


def test_every_line_is_an_object_with_its_time_and_its_level(life: tuple[Life, Published]) -> None:
    for role, text in life[1].logs.items():
        for line in text.splitlines():
            # Celery says so by itself, where it runs as root.
            if line.startswith('{"'):
                assert {"event", "level", "timestamp"} <= json.loads(line).keys(), role


def test_every_metric_is_served_by_the_processes_in_its_row(life: tuple[Life, Published]) -> None:
    for name, metric in {**COUNTED, **STATE}.items():
        for role in metric.of.split(", "):
            families = {
                f"{family.name}_total" if family.type == "counter" else family.name: family
                for family in text_string_to_metric_families(life[1].metrics[role])
            }
            assert name in families, (name, role)
            assert families[name].type == metric.kind
            for sample in families[name].samples:
                assert set(sample.labels) - {"le"} == set(metric.labels)


def test_no_label_of_a_metric_has_an_unlimited_number_of_values(exposed: Exposed) -> None:
    for name, labels in exposed.items():
        for label, values in labels.items():
            assert len(values) <= 64, (name, label)
            assert not [value for value in values if re.search(r"[0-9a-f]{16}|@|://", value)], (name, label)


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the alerts and the dashboard, and where it stands."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            # What Grafana puts in for its variables.
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def selectors(expression: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    """Every selector of metrics in a parsed expression."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(expression, visit)
    return found


@pytest.mark.parametrize(("where", "text"), list(expressions()), ids=[where for where, _ in expressions()])
def test_alerts_and_dashboard_use_existing_metrics(where: str, text: str, exposed: Exposed) -> None:
    found = selectors(promql_parser.parse(text))
    assert found, where
    for selector in found:
        if selector.name in OF_PROMETHEUS:
            continue
        assert selector.name in exposed, f"{where}: there is no {selector.name}"
        labels = exposed[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels.keys() | ADDED, f"{where}: {selector.name} has no {matcher.name}"
            if matcher.op == promql_parser.MatchOp.Equal and matcher.name in labels:
                assert matcher.value in labels[matcher.name], f"{where}: {matcher.name}={matcher.value}"
    known = {label for selector in found for label in exposed.get(selector.name, {})} | ADDED
    lists = re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", text)
    grouped = {label.strip() for labels in lists for label in labels.split(",")}
    assert grouped <= known, where


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(text for _, text in expressions())
    assert not [name for name in {**COUNTED, **STATE} if name not in shown]


def test_the_dashboard_is_of_the_form_that_grafana_imports() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 39
    assert {"title", "uid", "time", "templating"} <= dashboard.keys()
    (source,) = dashboard["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_every_alert_has_a_severity_and_a_remedy() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["for"]


def test_every_role_is_scraped_at_its_port() -> None:
    scraped = yaml.safe_load(SCRAPES.read_text())
    assert scraped["rule_files"] == [ALERTS.name]
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in scraped["scrape_configs"]}
    assert jobs.keys() == set(ROLES)
    assert {source["port"] for source in jobs.values()} == {9100}
