"""What a node knows: decoded changes come in, a consistent view of the mesh comes out.

One response is applied as a whole: updates in order, then removals, and endpoint changes last
(docs/protocol/ztunnel.md ZT-20 to ZT-29). ``resolve`` and ``policies`` read it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.lab.ztunnel.authorization import Authorization
from controlplane.lab.ztunnel.authorizations import Authorizations
from controlplane.lab.ztunnel.network import NamespacedHostname
from controlplane.lab.ztunnel.service import Service
from controlplane.lab.ztunnel.services import Endpoint, Services
from controlplane.lab.ztunnel.workload import Workload
from controlplane.lab.ztunnel.workloads import Workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class StateView:
    """Everything that is held, comparable: two nodes that know the same are equal."""

    workloads: dict[str, Workload]
    services: dict[str, Service]
    endpoints: dict[str, tuple[Endpoint, ...]]
    staged: dict[str, tuple[Endpoint, ...]]
    policies: dict[str, Authorization]

    def differences(self, other: "StateView") -> tuple[str, ...]:
        """Return ``part key`` for everything that is not the same in both."""
        return tuple(
            f"{part} {key}"
            for part in ("workloads", "services", "endpoints", "staged", "policies")
            for mine, theirs in [(getattr(self, part), getattr(other, part))]
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        )


class MeshState:
    """Workloads, services with endpoints, and policies, as the responses so far left them."""

    def __init__(self) -> None:
        self.workloads = Workloads()
        self.services = Services()
        self.policies = Authorizations()

    def apply_addresses(
        self, updates: Iterable[Workload | Service], removed: Iterable[str]
    ) -> None:
        """Apply one response of Address resources; ``removed`` are resource names."""
        pending = _EndpointChanges()
        for value in updates:
            if isinstance(value, Workload):
                pending.forget(self.workloads.insert(value))
                pending.expect(value)
            else:
                self.services.insert(value)
        for name in removed:
            self._remove_address(name, pending)
        pending.apply_to(self.services)

    def apply_authorizations(
        self, updates: Iterable[tuple[str, Authorization]], removed: Iterable[str]
    ) -> None:
        """Apply one response of Authorization resources; policies come with resource names."""
        for name, policy in updates:
            self.policies.insert(name, policy)
        for name in removed:
            self.policies.remove(name)

    def view(self) -> StateView:
        """Return everything that is held, detached from later changes."""
        services = self.services
        return StateView(
            workloads=dict(self.workloads.by_uid),
            services={str(key): service for key, service in services.by_key.items()},
            endpoints={str(key): services.endpoints(key) for key in services.by_key},
            staged={str(key): waiting for key, waiting in services.staged().items()},
            policies=dict(self.policies.by_name),
        )

    def _remove_address(self, name: str, pending: "_EndpointChanges") -> None:
        workload = self.workloads.remove(name)
        if workload is not None:
            pending.forget(workload)
            return
        namespace, slash, hostname = name.partition("/")
        if slash and "/" not in hostname:
            self.services.remove(NamespacedHostname(namespace, hostname))


class _EndpointChanges:
    """What one response changes behind each service, applied when the rest of it has been.

    The last word on a workload counts, so that one that is updated and then removed leaves none.
    """

    def __init__(self) -> None:
        self._by_service: dict[NamespacedHostname, dict[str, Endpoint | None]] = {}

    def forget(self, workload: Workload | None) -> None:
        if workload is not None:
            for key, _ in workload.services:
                self._by_service.setdefault(key, {})[workload.uid] = None

    def expect(self, workload: Workload) -> None:
        for key, ports in workload.services:
            self._by_service.setdefault(key, {})[workload.uid] = Endpoint(
                uid=workload.uid, ports=ports, status=workload.status
            )

    def apply_to(self, services: Services) -> None:
        for key, changes in self._by_service.items():
            services.change_endpoints(
                key, changes, (endpoint for endpoint in changes.values() if endpoint is not None)
            )
