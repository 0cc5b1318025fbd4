"""What an installation says about the waypoints it deploys; ``app`` fills it from the settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointSettings:
    """One value for all waypoints.

    ``image`` is a stock Envoy of at least 1.38. ``discovery_host`` is the control plane's Service,
    such as ``istiod.istio-system.svc``. ``network`` is the network of the cluster, "" for none.
    ``listen_address`` is ``::`` where pods have IPv6 addresses. Requests and limits are Kubernetes
    quantities. ``drain_seconds`` is how long a pod goes on serving after it was asked to end, time
    for node proxies to hear of it; 0 does without, for Kubernetes before 1.30.
    """

    discovery_host: str
    discovery_port: int = 15012
    image: str = "envoyproxy/envoy:distroless-v1.40.0"
    cluster_id: str = "Kubernetes"
    network: str = ""
    domain_suffix: str = "cluster.local"
    revision: str = ""
    listen_address: str = "0.0.0.0"  # noqa: S104 - kubelet and Prometheus come to the pod's address
    cpu_request: str = "100m"
    memory_request: str = "128Mi"
    cpu_limit: str = "2"
    memory_limit: str = "1Gi"
    drain_seconds: int = 20
