"""Where waypoint Gateways are to be reached: committed Services and their endpoints in, hosts out.

It remembers which Gateways asked for which Service, so that a change of one costs as much as there
are Gateways that care. Source: docs/protocol/waypoint-deployment.md WO-63 to WO-66.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from controlplane.controllers.gateway_conditions import GatewayHost
from controlplane.controllers.waypoint_identity import GATEWAY_NAME
from controlplane.dataflow import Change, Collection
from controlplane.manifests.core import EndpointSlice, Service
from controlplane.mesh.waypoint_gateways import HBONE_PORT
from controlplane.model.names import Name

_SERVICE_NAME: Final = "kubernetes.io/service-name"


class GatewayHosts:
    """Looks hosts up; ``changed`` is called with the Gateways whose hosts may be others now."""

    def __init__(
        self,
        services: Collection[Name, Service],
        endpoint_slices: Collection[Name, EndpointSlice],
        *,
        domain_suffix: str,
        changed: Callable[[Iterable[Name]], None],
    ) -> None:
        self._services = services
        self._ending = f".svc.{domain_suffix}"
        self._changed = changed
        self._slices: dict[Name, dict[Name, EndpointSlice]] = {}
        self._asked: dict[Name, dict[Name, None]] = {}
        self._asking: dict[Name, frozenset[Name]] = {}
        services.subscribe(self._services_changed)
        endpoint_slices.subscribe(self._slices_changed)

    def ask(
        self, gateway: Name, hosts: Sequence[str], *, is_made_for_it: bool = False
    ) -> dict[str, GatewayHost | None]:
        """Return what is known of each host, and remember that the Gateway wants to know.

        With ``is_made_for_it`` a Service that says it was made for another Gateway is none: two
        that wish for one name are not served by the same pods.
        """
        names = {host: self._service_at(host) for host in hosts}
        self.forget(gateway)
        self._asking[gateway] = frozenset(name for name in names.values() if name is not None)
        for name in self._asking[gateway]:
            self._asked.setdefault(name, {})[gateway] = None
        made_for = gateway.name if is_made_for_it else None
        return {
            host: None if name is None else self._host(name, made_for)
            for host, name in names.items()
        }

    def forget(self, gateway: Name) -> None:
        """Forget what a Gateway asked for."""
        for name in self._asking.pop(gateway, ()):
            self._asked[name].pop(gateway)
            if not self._asked[name]:
                del self._asked[name]

    def _service_at(self, host: str) -> Name | None:
        """Return the Service that a hostname is of, None for hostnames of anything else."""
        name, dot, namespace = host.removesuffix(self._ending).partition(".")
        if not host.endswith(self._ending) or not dot or "." in namespace:
            return None
        return Name(namespace, name)

    def _host(self, name: Name, made_for: str | None) -> GatewayHost | None:
        service = self._services.get(name)
        if service is None:
            return None
        if made_for is not None and service.metadata.labels.get(GATEWAY_NAME, made_for) != made_for:
            return None
        return GatewayHost(addresses=service.cluster_ips, is_served=self._is_served(service))

    def _is_served(self, service: Service) -> bool:
        names = {port.name for port in service.ports if port.port == HBONE_PORT}
        return any(
            any((port.name or "") in names for port in found.ports)
            and any(endpoint.ready is not False for endpoint in found.endpoints)
            for found in self._slices.get(service.key, {}).values()
        )

    def _services_changed(self, changes: Sequence[Change[Name, Service]]) -> None:
        self._tell({change.key: None for change in changes})

    def _slices_changed(self, changes: Sequence[Change[Name, EndpointSlice]]) -> None:
        touched: dict[Name, None] = {}
        for change in changes:
            for found in (change.old, change.new):
                service = None if found is None else _service_of(found)
                if service is None:
                    continue
                held = self._slices.setdefault(service, {})
                held.pop(change.key, None)
                if found is change.new and found is not None:
                    held[change.key] = found
                if not held:
                    del self._slices[service]
                touched[service] = None
        self._tell(touched)

    def _tell(self, services: Iterable[Name]) -> None:
        gateways = {
            gateway: None for service in services for gateway in self._asked.get(service, ())
        }
        if gateways:
            self._changed(gateways)


def _service_of(found: EndpointSlice) -> Name | None:
    name = found.metadata.labels.get(_SERVICE_NAME)
    return None if name is None else Name(found.metadata.namespace, name)
