"""Metrics of the mesh: commits, rules, what they found, and what waits for the next commit."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.metrics.kinds import SECONDS


class MeshMetrics:
    """What is counted of the graph."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.services = Gauge(
            "pilot_services", "Services of the mesh, those of entries included.", registry=registry
        )
        self.commits = Counter("istiod_lite_commits", "Commits of the graph.", registry=registry)
        self.batching = Histogram(
            "pilot_debounce_time",
            "From the arrival of the first change of a commit until it was committed.",
            buckets=SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "istiod_lite_batch_waiting", "Changes that wait to be committed.", registry=registry
        )
        self.rule_calls = Counter("istiod_lite_rule_calls", "Rules evaluated.", registry=registry)
        self.rule_failures = Counter(
            "istiod_lite_rule_failures",
            "Rules that failed: a fault of ours; what they said before stays.",
            ["collection"],
            registry=registry,
        )
        self.key_sets_fetched = Counter(
            "pilot_jwks_resolver_network_fetch_success",
            "Key sets of token issuers that were fetched.",
            registry=registry,
        )
        self.key_sets_failed = Counter(
            "pilot_jwks_resolver_network_fetch_fail",
            "Times that one could not be fetched, or not be used.",
            registry=registry,
        )
        self.problems = Gauge(
            "istiod_lite_problems",
            "Problems found in the configuration.",
            ["severity"],
            registry=registry,
        )
