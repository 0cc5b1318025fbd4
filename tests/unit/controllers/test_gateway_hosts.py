from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from controlplane.controllers.gateway_conditions import GatewayHost
from controlplane.controllers.gateway_hosts import GatewayHosts
from controlplane.dataflow import Graph
from controlplane.manifests.core import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Service,
    ServicePort,
)
from controlplane.manifests.metadata import Metadata
from controlplane.model.names import Name

HOST = "waypoint.shop.svc.cluster.local"
GATEWAY = Name("shop", "waypoint")


def a_service(name: str = "waypoint", port: str = "mesh") -> Service:
    return Service(
        metadata=Metadata(name=name, namespace="shop"),
        cluster_ips=("10.96.0.9",),
        ports=(ServicePort(port=15021, name="status-port"), ServicePort(port=15008, name=port)),
    )


def a_slice(
    name: str = "x", *, port: str | None = "mesh", service: str = "waypoint", **ready: bool | None
) -> EndpointSlice:
    labels = {"kubernetes.io/service-name": service}
    return EndpointSlice(
        metadata=Metadata(name=name, namespace="shop", labels=labels),
        endpoints=tuple(Endpoint(addresses=("10.0.0.1",), ready=each) for each in ready.values()),
        ports=(EndpointPort(name=port, port=15008),),
    )


class Asking:
    def __init__(self) -> None:
        self.graph = Graph()
        self.services = self.graph.input("services", Service, key=lambda value: value.key)
        self.slices = self.graph.input("slices", EndpointSlice, key=lambda value: value.key)
        self.changed: list[Name] = []
        self.hosts = GatewayHosts(
            self.services,
            self.slices,
            domain_suffix="cluster.local",
            changed=self._changed,
        )

    def _changed(self, gateways: Iterable[Name]) -> None:
        self.changed += gateways

    def put(self, *values: Service | EndpointSlice) -> None:
        with self.graph.transaction():
            for value in values:
                if isinstance(value, Service):
                    self.services.put(value)
                else:
                    self.slices.put(value)

    def remove(self, name: str) -> None:
        with self.graph.transaction():
            self.services.remove(Name("shop", name))
            self.slices.remove(Name("shop", name))

    def host(self, host: str = HOST) -> GatewayHost | None:
        return self.hosts.ask(GATEWAY, [host])[host]


@pytest.mark.proves("WO-64")
def test_of_two_gateways_that_want_one_name_the_service_is_one_of_theirs() -> None:
    asking = Asking()
    label = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    made = Metadata(name="waypoint", namespace="shop", labels=label)
    asking.put(replace(a_service(), metadata=made), a_slice(first=True))
    other = Name("shop", "other")
    assert asking.hosts.ask(GATEWAY, [HOST], is_made_for_it=True)[HOST] is not None
    assert asking.hosts.ask(other, [HOST], is_made_for_it=True)[HOST] is None
    # Who asks to be reached there has deployed it in some other way.
    assert asking.hosts.ask(other, [HOST])[HOST] is not None


@pytest.mark.proves("WO-63", "WO-64")
def test_a_service_is_found_by_its_hostname() -> None:
    asking = Asking()
    assert asking.host() is None
    asking.put(a_service(), a_slice(a=True))
    assert asking.host() == GatewayHost(addresses=("10.96.0.9",), is_served=True)


@pytest.mark.refutes("WO-64")
@pytest.mark.parametrize(
    "host",
    ["waypoint", "waypoint.shop", "shop.svc.cluster.local", "a.b.shop.svc.cluster.local", ""],
)
def test_other_hostnames_are_of_no_service(host: str) -> None:
    asking = Asking()
    asking.put(a_service())
    assert asking.host(host) is None


@pytest.mark.proves("WO-65")
@pytest.mark.parametrize(
    "found",
    [
        a_slice(a=False),
        a_slice(),
        a_slice(a=True, port="status-port"),
        a_slice(a=True, service="other"),
        EndpointSlice(metadata=Metadata(name="x", namespace="shop")),
    ],
)
def test_nothing_ready_on_the_port_is_nothing_served(found: EndpointSlice) -> None:
    asking = Asking()
    asking.put(a_service(), found)
    assert asking.host() == GatewayHost(addresses=("10.96.0.9",), is_served=False)


@pytest.mark.refutes("WO-65")
@pytest.mark.parametrize("ready", [True, None])
def test_one_that_is_ready_or_does_not_say_serves(ready: bool | None) -> None:
    asking = Asking()
    asking.put(a_service(), a_slice("gone", a=False), a_slice(a=False, b=ready))
    host = asking.host()
    assert host is not None
    assert host.is_served


def test_ports_without_a_name_are_the_same_port() -> None:
    asking = Asking()
    asking.put(a_service(port=""), a_slice(port=None, a=True))
    host = asking.host()
    assert host is not None
    assert host.is_served


def test_who_asked_is_told_of_changes_of_that_alone() -> None:
    asking = Asking()
    asking.host()
    asking.put(a_service("other"), a_slice("y", service="other", a=True))
    assert not asking.changed
    asking.put(a_service())
    asking.put(a_slice(a=True))
    # A slice that is another Service's now is no longer this one's.
    asking.put(a_slice(a=True, service="other"))
    assert asking.changed == [GATEWAY] * 3
    host = asking.host()
    assert host is not None
    assert not host.is_served
    asking.remove("waypoint")
    assert asking.changed == [GATEWAY] * 4
    asking.hosts.forget(GATEWAY)
    asking.put(a_service())
    assert asking.changed == [GATEWAY] * 4
