"""Metrics of a cluster: what is read of it, who leads, what is written to it, and the webhook."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.metrics.kinds import SECONDS, Count


class ClusterMetrics:
    """What is counted of the cluster: what is read of it, who leads, what is written to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.watch_lag = Histogram(
            "istiod_lite_watch_lag_seconds",
            "From an object's making, in whole seconds of the cluster's clock, to its arrival.",
            ["kind"],
            buckets=SECONDS,
            registry=registry,
        )
        self.watch_state = Gauge(
            "istiod_lite_watch_state",
            "1 for the state each kind is in: waiting, current, stale or absent.",
            ["kind", "state"],
            registry=registry,
        )
        self.watched_objects = Gauge(
            "istiod_lite_watch_objects", "Objects known.", ["kind"], registry=registry
        )
        self.stale_seconds = Gauge(
            "istiod_lite_watch_stale_seconds",
            "For how long a kind has not been read.",
            ["kind"],
            registry=registry,
        )
        self.leads = Gauge(
            "istiod_lite_leader", "1 while this replica leads.", ["election"], registry=registry
        )
        self.may_write = Gauge(
            "istiod_lite_may_write",
            "1 while this replica writes to the cluster.",
            registry=registry,
        )
        self.writes = Counter(
            "istiod_lite_writes",
            "Writes to the API server, by what came of them.",
            ["resource", "outcome"],
            registry=registry,
        )
        self.validations_passed = Count(
            "galley_validation_passed",
            "Objects the webhook allowed.",
            ["group", "resource"],
            registry=registry,
        )
        self.validations_failed = Count(
            "galley_validation_failed",
            "Objects it refused.",
            ["group", "resource", "reason"],
            registry=registry,
        )
        self.validation_errors = Count(
            "galley_validation_http_error",
            "Requests to it that got no verdict.",
            ["status"],
            registry=registry,
        )
        self.write_troubles = Gauge(
            "istiod_lite_write_troubles",
            "Objects that are not the way they should be.",
            ["controller", "outcome"],
            registry=registry,
        )
