"""What an installation decides about the mesh rules, apart from the mesh configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """Settings of the mesh rules; they do not change while the process runs.

    ``cluster_id`` prefixes every workload uid and may be empty. ``revision`` filters the four
    kinds that carry ``istio.io/rev``; empty keeps all. ``expands`` turns workload templates,
    waypoint Gateways and missing addresses into what a cluster would have made of them.
    ``waypoints_listen_on_pods`` is for pods that share one machine: each waypoint listens on the
    address of its pod alone.
    """

    cluster_id: str = "Kubernetes"
    domain_suffix: str = "cluster.local"
    revision: str = ""
    system_namespace: str = "istio-system"
    service_entries_select_pods: bool = True
    services_select_workload_entries: bool = True
    allocates_addresses: bool = True
    allows_waypoints_implicitly: bool = False
    sends_dry_run_policies: bool = False
    expands: bool = False
    waypoints_listen_on_pods: bool = False
    pod_range: str = "10.128.0.0/9"
    service_range: str = "10.96.0.0/12"
    allocated_ipv4_range: str = "240.240.0.0/16"
    allocated_ipv6_range: str = "2001:2::/48"
