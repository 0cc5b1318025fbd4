"""Names and types are as documented, and what is answered can be read in both formats."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric, openmetrics
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from controlplane.metrics import Metrics
from controlplane.metrics.kinds import OTHER, Bounded

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<meaning>.+) \|")
FOR_EACH = {"client", "connection", "identity", "name", "namespace", "node", "peer", "pod", "uid"}
FOR_EACH |= {"replica", "service", "workload", "address", "principal"}
VALUES = 3.0


def documented() -> dict[str, tuple[str, set[str]]]:
    return {
        match["name"]: (match["kind"], set(re.findall(r"`(\w+)`", match["labels"])))
        for match in map(ROW.fullmatch, PAGE.read_text().splitlines())
        if match is not None
    }


def filled() -> Metrics:
    """Return metrics with one value for each name, labelled with the names of their labels."""
    metrics = Metrics("1")
    for group in (metrics.certificates, metrics.cluster, metrics.mesh, metrics.serving):
        for each in vars(group).values():
            labels = each._labelnames
            child = each.labels(*labels) if labels else each
            (child.observe if hasattr(child, "observe") else child.inc)(VALUES)
    return metrics


def exposed(family: Metric) -> str:
    """Return the name as it stands on the page: both parsers leave some endings off."""
    return family.samples[0].name if family.type in {"counter", "info"} else family.name


def families(metrics: Metrics, form: str) -> Iterable[Metric]:
    if form == "text":
        return text_families(generate_latest(metrics.registry).decode())
    latest = openmetrics.exposition.generate_latest(metrics.registry, version="1.0.0")
    return open_families(latest.decode())


@pytest.mark.parametrize("form", ["text", "openmetrics"])
def test_what_is_answered_is_what_is_documented(form: str) -> None:
    expected = documented()
    found = {}
    for family in families(filled(), form):
        name = exposed(family)
        if name.startswith("process_"):
            continue
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        kind = family.type
        if name == "istiod_lite_build_info":
            # The text format knows no such type, and what is told stands in its label.
            kind, labels = "info", labels - {"version"}
        found[name] = (kind, labels)
    as_exposed = {
        name: ("gauge" if kind == "count" else kind, labels)
        for name, (kind, labels) in expected.items()
    }
    assert found == as_exposed


def test_no_label_has_a_value_for_each_pod_or_client() -> None:
    assert len(documented()) > 50
    for name, (_, labels) in documented().items():
        assert not labels & FOR_EACH, name


def test_names_that_dashboards_know_are_exact() -> None:
    metrics = Metrics("1.2")
    metrics.certificates.requests.inc()
    metrics.serving.pushes.labels(type="wds").inc(2)
    metrics.mesh.rule_calls.inc()
    text = generate_latest(metrics.registry).decode()
    assert "\ncitadel_server_csr_count 1.0\n" in text
    assert '\npilot_xds_pushes{type="wds"} 2.0\n' in text
    assert '\npilot_info{version="1.2"} 1.0\n' in text
    assert '\nistio_build{component="pilot",tag="1.2"} 1.0\n' in text
    assert "\nistiod_lite_rule_calls_total 1.0\n" in text
    assert "_created" not in text


def test_buckets_of_names_that_dashboards_know_are_istiods() -> None:
    registry: CollectorRegistry = filled().registry
    bounds = {
        family.name: [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
        for family in registry.collect()
    }
    sizes = ["1.0", "10000.0", "1e+06", "4e+06", "1e+07", "4e+07", "+Inf"]
    assert bounds["pilot_xds_config_size_bytes"] == sizes
    seconds = ["0.1", "0.5", "1.0", "3.0", "5.0", "10.0", "20.0", "30.0", "+Inf"]
    assert bounds["pilot_proxy_convergence_time"] == seconds


def test_values_beyond_the_bound_are_one() -> None:
    bounded = Bounded(2)
    assert [bounded(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]
