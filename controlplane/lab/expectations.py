"""What a demonstration expects, judged by what node proxies received and by nothing else.

States of reference clients come in, named findings come out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from random import Random

from controlplane.lab.ztunnel.network import IpAddress, NetworkAddress
from controlplane.lab.ztunnel.policies import Connection, Verdict, evaluate
from controlplane.lab.ztunnel.route import Route, Router
from controlplane.lab.ztunnel.service import Service
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Workload

_NOWHERE = IPv4Address("192.0.2.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One expectation and whether it was met; ``detail`` is what was seen."""

    expected: str
    met: bool
    detail: str = ""


class NodeView:
    """What one node knows, asked in the words of applications."""

    def __init__(self, name: str, state: MeshState) -> None:
        self.name = name
        self.state = state

    def workloads(self) -> list[Workload]:
        """Return every workload, by namespace and name."""
        found = self.state.workloads.by_uid.values()
        return sorted(found, key=lambda workload: (workload.namespace, workload.name))

    def services(self) -> list[Service]:
        """Return every service, by namespace and hostname."""
        found = self.state.services.by_key.values()
        return sorted(found, key=lambda service: (service.namespace, service.hostname))

    def application(self, name: str) -> Workload | None:
        """Return the first workload of an application, by its canonical name."""
        return next(iter(self.instances(name)), None)

    def instances(self, name: str) -> list[Workload]:
        """Return the workloads of an application."""
        return [workload for workload in self.workloads() if workload.canonical_name == name]

    def hosts(self, application: str) -> bool:
        """Return whether an application runs here, so that this node decides who may call it.

        True as well when nobody knows the application: that is for the judge to find out.
        """
        instances = self.instances(application)
        return not instances or any(workload.node == self.name for workload in instances)

    def service(self, name: str) -> Service | None:
        """Return the first service of that name."""
        return next((service for service in self.services() if service.name == name), None)

    def verdict(self, client: str, server: str, port: int) -> Verdict | None:
        """Return whether ``client`` may connect to ``server``; "" connects in plaintext.

        None when one of the two is not known here.
        """
        target = self.application(server)
        source = self.application(client) if client else None
        if target is None or (client and source is None) or not target.addresses:
            return None
        connection = Connection(
            source_ip=_address_of(source),
            destination_ip=target.addresses[0],
            destination_port=port,
            identity=source.identity if source else "",
        )
        return evaluate(self.state, target, connection)

    def route(self, client: str, service: str, port: int) -> Route | None:
        """Return where a connection of ``client`` to a service's address goes."""
        source, target = self.application(client), self.service(service)
        if source is None or target is None:
            return None
        hosts = [address for address in target.addresses if isinstance(address, NetworkAddress)]
        if not hosts:
            return None
        router = Router(state=self.state, random=Random(0))  # noqa: S311 - picks an endpoint
        return router.route(source, hosts[0], port)


def expect(expected: str, nodes: Iterable[NodeView], holds: Callable[[NodeView], str]) -> Finding:
    """Judge an expectation on every node; ``holds`` returns "" or what is wrong."""
    wrong = [f"{node.name}: {found}" for node in nodes if (found := holds(node))]
    return Finding(expected=expected, met=not wrong, detail="; ".join(wrong))


def allows(client: str, server: str, port: int) -> Callable[[NodeView], str]:
    """Return a judge that wants the connection allowed, where the server runs."""
    return _verdict_is(client, server, port, wanted=True)


def denies(client: str, server: str, port: int) -> Callable[[NodeView], str]:
    """Return a judge that wants the connection denied, where the server runs."""
    return _verdict_is(client, server, port, wanted=False)


def _verdict_is(client: str, server: str, port: int, *, wanted: bool) -> Callable[[NodeView], str]:
    def judge(node: NodeView) -> str:
        if not node.hosts(server):
            return ""
        verdict = node.verdict(client, server, port)
        if verdict is None:
            return f"{client or 'the client'} or {server} is not known"
        return "" if verdict.allowed is wanted else f"{verdict.reason.value} {verdict.policy}"

    return judge


def _address_of(workload: Workload | None) -> IpAddress:
    return workload.addresses[0] if workload and workload.addresses else _NOWHERE
