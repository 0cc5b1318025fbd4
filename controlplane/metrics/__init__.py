"""Metric definitions: one registry per process, made by ``app`` and read by ``/metrics``.

Names that mean the same as istiod's are istiod's, so that dashboards carry over; ours start with
``istiod_lite_``. Counts under istiod's names are gauges that only grow: the library would append
``_total`` to a counter's name. No label has a value for each pod, workload or client.
docs/metrics.md lists them all.
"""

from prometheus_client import CollectorRegistry, disable_created_metrics

from controlplane.metrics.certificates import CertificateMetrics
from controlplane.metrics.cluster import ClusterMetrics
from controlplane.metrics.mesh import MeshMetrics
from controlplane.metrics.process import ProcessMetrics
from controlplane.metrics.serving import ServingMetrics

__all__ = [
    "CertificateMetrics",
    "ClusterMetrics",
    "MeshMetrics",
    "Metrics",
    "ProcessMetrics",
    "ServingMetrics",
]

disable_created_metrics()  # type: ignore[no-untyped-call] # the library leaves it untyped


class Metrics:
    """Every metric this process keeps, on a registry of its own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self.certificates = CertificateMetrics(self.registry)
        self.cluster = ClusterMetrics(self.registry)
        self.mesh = MeshMetrics(self.registry)
        self.serving = ServingMetrics(self.registry)
        self.process = ProcessMetrics(self.registry, version)
