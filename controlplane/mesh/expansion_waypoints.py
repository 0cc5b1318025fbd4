"""What a cluster makes of a waypoint Gateway: a Deployment, a Service and status addresses.

Gateways and their classes come in; templates and Services go out, which ``expansion_templates``
and ``expansion_services`` treat like any other; then the Gateway with the addresses of its
Service. A Gateway that has status addresses is left as it is. Source: docs/protocol/expansion.md
EX-40 to EX-46.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import (
    ContainerPort,
    PodTemplate,
    Service,
    ServicePort,
    WorkloadTemplate,
)
from controlplane.manifests.gateway import Gateway, GatewayAddress, GatewayClass
from controlplane.manifests.metadata import Metadata
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoint_gateways import HBONE_PORT, is_waypoint_class
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from controlplane.model.problem import Problem, Severity

_NAME_OVERRIDE: Final = "gateway.istio.io/name-override"
_SERVICE_ACCOUNT: Final = "gateway.istio.io/service-account"
_GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
_NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        _NAME_OVERRIDE,
        _SERVICE_ACCOUNT,
        "gateway.istio.io/controller-version",
    }
)
_STATUS_PORT: Final = ServicePort(
    port=15021, name="status-port", target_port=15021, app_protocol="tcp"
)
_LONGEST_PORT_NAME: Final = 63
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CONTAINER_PORTS: Final = (
    ContainerPort("metrics", 15020),
    ContainerPort("status-port", 15021),
    ContainerPort("http-envoy-prom", 15090),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointObjects:
    """What waypoint Gateways are deployed as; templates are keyed as templates are."""

    templates: Collection[tuple[str, Name], WorkloadTemplate]
    services: Collection[Name, Service]
    problems: Collection[ProblemKey, Problem]


def build_waypoint_objects(
    graph: Graph,
    gateways: Collection[Name, Gateway],
    gateway_classes: Collection[Name, GatewayClass],
) -> WaypointObjects:
    """Register what waypoint ``gateways`` are deployed as on ``graph``."""

    def is_deployed(fetch: Fetch, gateway: Gateway) -> bool:
        gateway_class = fetch.one(gateway_classes, Name("", gateway.class_name))
        is_ours = is_waypoint_class(gateway.class_name, gateway_class)
        return is_ours and not gateway.status_addresses and is_managed(gateway)

    def templates(fetch: Fetch, gateway: Gateway) -> Mapping[tuple[str, Name], WorkloadTemplate]:
        if not is_deployed(fetch, gateway):
            return {}
        template = template_of(gateway)
        return {(template.kind, template.key): template}

    def services(fetch: Fetch, gateway: Gateway) -> Mapping[Name, Service]:
        if not is_deployed(fetch, gateway):
            return {}
        service = service_of(gateway)
        return {service.key: service}

    def problems(fetch: Fetch, gateway: Gateway) -> Mapping[ProblemKey, Problem]:
        override = gateway.metadata.annotations.get(_NAME_OVERRIDE)
        if override is None or _NAME.fullmatch(override) or not is_deployed(fetch, gateway):
            return {}
        problem = Problem(
            severity=Severity.ERROR,
            code="expansion.invalid-name",
            message=f"{override!r} cannot name a Service: the Gateway's own name is used",
            object=gateway.reference,
            field=f"metadata.annotations[{_NAME_OVERRIDE}]",
        )
        return {problem_key(problem): problem}

    return WaypointObjects(
        templates=graph.derive_many("waypoint templates", gateways, templates),
        services=graph.derive_many("waypoint services", gateways, services),
        problems=graph.derive_many("waypoint deployment problems", gateways, problems),
    )


def build_programmed_gateways(
    graph: Graph,
    gateways: Collection[Name, Gateway],
    gateway_classes: Collection[Name, GatewayClass],
    services: Collection[Name, Service],
    domain_suffix: str,
) -> Collection[Name, Gateway]:
    """Register ``gateways`` with the status addresses that follow from their Services."""

    def program(fetch: Fetch, gateway: Gateway) -> Gateway:
        gateway_class = fetch.one(gateway_classes, Name("", gateway.class_name))
        is_ours = is_waypoint_class(gateway.class_name, gateway_class)
        if not is_ours or gateway.status_addresses:
            return gateway
        if not is_managed(gateway):
            return msgspec.structs.replace(gateway, status_addresses=gateway.addresses)
        service = fetch.one(services, _deployed_name(gateway))
        if service is None:
            return gateway
        return msgspec.structs.replace(
            gateway, status_addresses=tuple(_addresses_of(service, domain_suffix))
        )

    return graph.derive("programmed gateways", gateways, program)


def is_managed(gateway: Gateway) -> bool:
    """Return whether the Gateway leaves its deployment to the mesh: it names no other place."""
    match gateway.addresses:
        case ():
            return True
        case (only,):
            return only.type in {"", "IPAddress"}
        case _:
            return False


def template_of(gateway: Gateway) -> WorkloadTemplate:
    """Return the Deployment of a waypoint Gateway."""
    name = _deployed_name(gateway)
    account = gateway.metadata.annotations.get(_SERVICE_ACCOUNT) or name.name
    labels = {
        "sidecar.istio.io/inject": "false",
        "service.istio.io/canonical-name": name.name,
        "service.istio.io/canonical-revision": "latest",
        **_labels(gateway),
        # A waypoint is never captured itself, whatever its Gateway is labelled.
        "istio.io/dataplane-mode": "none",
    }
    return WorkloadTemplate(
        metadata=_metadata(gateway, name),
        template_kind="Deployment",
        replicas=1,
        template=PodTemplate(
            labels=labels,
            annotations=_annotations(gateway),
            service_account=account,
            container_ports=_CONTAINER_PORTS,
        ),
    )


def service_of(gateway: Gateway) -> Service:
    """Return the Service of a waypoint Gateway, without address unless the Gateway states one."""
    name = _deployed_name(gateway)
    stated = [
        given.value for given in gateway.addresses if address_from_text(given.value) is not None
    ]
    metadata = msgspec.structs.replace(
        _metadata(gateway, name),
        annotations={
            "networking.istio.io/traffic-distribution": "PreferClose",
            **_annotations(gateway),
        },
    )
    return Service(
        metadata=metadata,
        cluster_ips=tuple(stated),
        selector={_GATEWAY_NAME: gateway.metadata.name},
        ports=(_STATUS_PORT, *_listener_ports(gateway)),
    )


def _listener_ports(gateway: Gateway) -> Iterator[ServicePort]:
    """Yield a port per distinct listener port; 15008 always, or no ztunnel could come in."""
    ports: dict[int, ServicePort] = {}
    names = {_STATUS_PORT.name}
    for listener in gateway.listeners:
        if listener.port in ports or listener.port == _STATUS_PORT.port:
            continue
        name = listener.name.replace(".", "-")[:_LONGEST_PORT_NAME]
        if name in names:
            ending = f"-{listener.port}"
            name = name[: _LONGEST_PORT_NAME - len(ending)] + ending
        names.add(name)
        ports[listener.port] = ServicePort(
            port=listener.port,
            name=name,
            target_port=listener.port,
            app_protocol=listener.protocol.lower(),
        )
    if HBONE_PORT not in ports:
        name = "hbone" if "hbone" in names else "mesh"
        yield ServicePort(port=HBONE_PORT, name=name, target_port=HBONE_PORT, app_protocol="hbone")
    yield from ports.values()


def _addresses_of(service: Service, domain_suffix: str) -> Iterator[GatewayAddress]:
    """Yield addresses, then the hostname, in the order a cluster's status has them."""
    for value in service.cluster_ips:
        if address_from_text(value) is not None:
            yield GatewayAddress("IPAddress", value)
    metadata = service.metadata
    yield GatewayAddress("Hostname", f"{metadata.name}.{metadata.namespace}.svc.{domain_suffix}")


def _deployed_name(gateway: Gateway) -> Name:
    override = gateway.metadata.annotations.get(_NAME_OVERRIDE, "")
    name = override if _NAME.fullmatch(override) else gateway.metadata.name
    return Name(gateway.metadata.namespace, name)


def _metadata(gateway: Gateway, name: Name) -> Metadata:
    return Metadata(
        name=name.name,
        namespace=name.namespace,
        labels=_labels(gateway),
        annotations=_annotations(gateway),
        created=gateway.metadata.created,
    )


def _labels(gateway: Gateway) -> dict[str, str]:
    return {
        **gateway.metadata.labels,
        _GATEWAY_NAME: gateway.metadata.name,
        "gateway.networking.k8s.io/gateway-class-name": gateway.class_name,
        "gateway.istio.io/managed": "istio.io-mesh-controller",
    }


def _annotations(gateway: Gateway) -> dict[str, str]:
    held = gateway.metadata.annotations
    return {key: value for key, value in held.items() if key not in _NOT_COPIED}
