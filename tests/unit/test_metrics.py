from prometheus_client import generate_latest

from controlplane.metrics import Metrics


def test_names_that_dashboards_know_are_exact() -> None:
    metrics = Metrics("1")
    metrics.certificates.requests.inc()
    metrics.serving.pushes.labels(type="wds").inc(2)
    metrics.mesh.rule_calls.inc()
    text = generate_latest(metrics.registry).decode()
    assert "\ncitadel_server_csr_count 1.0\n" in text
    assert '\npilot_xds_pushes{type="wds"} 2.0\n' in text
    assert "\nistiod_lite_rule_calls_total 1.0\n" in text
    assert "_created" not in text
