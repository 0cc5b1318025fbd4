"""Metric definitions: one registry per process, made by ``app`` and read by ``/metrics``.

Names that mean the same as istiod's are istiod's, so that dashboards carry over; ours start with
``istiod_lite_``.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_BYTES = (1.0, 10_000.0, 1_000_000.0, 4_000_000.0, 10_000_000.0, 40_000_000.0)


class Metrics:
    """Every metric this process keeps, on a registry of its own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self.build = Info("istiod_lite_build", "Version of this process.", registry=self.registry)
        self.build.info({"version": version})
        self.clients = Gauge(
            "pilot_xds", "Connected discovery clients.", ["version"], registry=self.registry
        )
        self.clients.labels(version=version).set(0)
        self.pushes = Counter(
            "pilot_xds_pushes", "Responses sent.", ["type"], registry=self.registry
        )
        self.response_bytes = Histogram(
            "pilot_xds_config_size_bytes",
            "Size of responses.",
            ["type"],
            buckets=_BYTES,
            registry=self.registry,
        )
        self.rejects = Counter(
            "pilot_total_xds_rejects",
            "Responses a client refused.",
            ["type"],
            registry=self.registry,
        )
        self.convergence = Histogram(
            "istiod_lite_convergence_seconds",
            "From commit to acknowledgement by one client.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.commits = Counter(
            "istiod_lite_commits", "Commits of the graph.", registry=self.registry
        )
        self.rule_calls = Counter(
            "istiod_lite_rule_calls", "Rules evaluated.", registry=self.registry
        )
        self.resources = Gauge(
            "istiod_lite_resources", "Resources served.", ["type"], registry=self.registry
        )
        self.problems = Gauge(
            "istiod_lite_problems",
            "Problems found in the configuration.",
            ["severity"],
            registry=self.registry,
        )
