"""Metrics of the process itself: what runs, for how long, and whether its loop keeps up."""

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector

from controlplane.metrics.kinds import SECONDS


class ProcessMetrics:
    """What is counted of the process; ``version`` is its own."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self.build = Info("istiod_lite_build", "Version of this process.", registry=registry)
        self.build.info({"version": version})
        self.component = Gauge(
            "istio_build",
            "1 for the version of this process.",
            ["component", "tag"],
            registry=registry,
        )
        self.component.labels(component="pilot", tag=version).set(1)
        self.info = Gauge(
            "pilot_info", "1 for the version of this process.", ["version"], registry=registry
        )
        self.info.labels(version=version).set(1)
        self.uptime = Gauge(
            "istiod_uptime_seconds", "Seconds since this process started.", registry=registry
        )
        self.loop_lag = Histogram(
            "istiod_lite_loop_lag_seconds",
            "How much later than it should the event loop came back to a task that slept.",
            buckets=SECONDS,
            registry=registry,
        )
        ProcessCollector(registry=registry)
