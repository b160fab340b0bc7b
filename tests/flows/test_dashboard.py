"""The dashboard and the documents name metrics that exist, with labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.flows.metrics import names
from penstock.flows.metrics.names import METRICS, Metric

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "penstock.json").read_text("utf-8"))
NOT_SHOWN: set[str] = set()
"""Metrics that are on no panel, on purpose."""
WORDS = {"by", "on", "unless", "and", "or", "group_right", "group_left", "ignoring", "without", "bool", "offset"}
GROUPED = re.compile(r"\b(?:by|on|ignoring|without|group_right|group_left)\s*\(([^)]*)\)")
SELECTED = re.compile(r"([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"\s*(?:,|$)')


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str, str]]:
    """(where, expression, legend) of each panel, and of each variable that asks Prometheus."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None and variable["definition"] == variable["query"]["query"]
            yield variable["name"], found[1], "{{" + found[2] + "}}"


def metric_of(name: str) -> tuple[Metric, set[str]]:
    """The metric that a series is of, and its labels."""
    for suffix in ("_bucket", "_sum", "_count"):
        base = METRICS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base is not None and base.kind == "histogram":
            return base, {*base.labels, *(["le"] if suffix == "_bucket" else [])}
    assert name in METRICS and METRICS[name].kind != "histogram", f"there is no metric {name}"
    return METRICS[name], set(METRICS[name].labels)


def read(expression: str) -> list[tuple[Metric, set[str]]]:
    """The series that an expression selects. Raises where a label is asked for that one has not."""
    found, grouped = [], [label.strip() for group in GROUPED.findall(expression) for label in group.split(",")]
    bare = re.sub(r"\[[^]]*\]", "", GROUPED.sub(" ", expression))
    for match in SELECTED.finditer(bare):
        name, matchers = match[1], match[2]
        if name in WORDS or bare[match.end() :].lstrip().startswith("("):
            continue
        metric, labels = metric_of(name)
        if matchers is not None:
            assert re.fullmatch(f"(?:{MATCHER.pattern})*", matchers), matchers
            asked = {each[1] for each in MATCHER.finditer(matchers)}
            assert asked <= labels, f"{name} has no label {asked - labels}"
        found.append((metric, labels))
    assert found, expression
    for _, labels in found:
        assert {label for label in grouped if label} <= labels, (expression, grouped)
    return found


@pytest.mark.parametrize(("where", "expression", "legend"), list(queries()), ids=lambda value: str(value)[:50])
def test_each_query_names_metrics_that_exist_with_labels_that_they_have(
    where: str, expression: str, legend: str
) -> None:
    """What the legend shows survives what the query sums over."""
    labels = set.intersection(*(labels for _, labels in read(expression)))
    kept = re.match(r"[^(]*(?:\(.*?)?\bby\s*\(([^)]*)\)", expression)
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert shown <= labels, (where, shown - labels)
    if kept is not None and expression.count(" by (") == 1:
        assert shown <= {each.strip() for each in kept[1].split(",")}, (where, expression, legend)


def test_each_metric_is_on_a_panel() -> None:
    """Or is said to be on none."""
    shown = {metric.name for _, expression, _ in queries() for metric, _ in read(expression)}
    assert METRICS.keys() - shown == NOT_SHOWN


@pytest.mark.parametrize(
    "expression",
    [
        "penstock_nothing",
        'penstock_chunks{uri="a"}',
        "sum by (device) (penstock_chunks)",
        "penstock_search_seconds",
        "rate(penstock_chunks_bucket[5m])",
    ],
)
def test_a_query_that_is_wrong_is_found(expression: str) -> None:
    """The check itself would notice a name, a label, a group or a suffix that is none."""
    with pytest.raises(AssertionError):
        read(expression)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Its Prometheus is a variable, its panels have places and ids of their own, it asks for the home."""
    assert DASHBOARD["schemaVersion"] >= 39 and DASHBOARD["uid"] == "penstock" and "id" not in DASHBOARD
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["DS_PROMETHEUS"]["type"] == "datasource" and {"home", "source"} <= variables.keys()
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Now", "Freshness & runs", "Documents", "Throughput", "Sources", "Replicas & recovery", "Search", "GPU"),
    ]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
    for panel in panels():
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert {each["datasource"]["uid"] for each in (panel, *panel["targets"])} == {"${DS_PROMETHEUS}"}
        assert all('home=~"$home"' in target["expr"] for target in panel["targets"])


def test_the_documents_list_every_metric() -> None:
    """docs/metrics.md has the tables of names.py, word for word, and its alerts name metrics that exist."""
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert names.table(names.RUN_METRICS) in text and names.table(names.STATE_METRICS) in text
    for expression in re.findall(r"expr: (.*)", text):
        assert read(expression)
