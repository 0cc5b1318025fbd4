"""What a waypoint Gateway is deployed as: the Gateway, settings and overlays in, objects out.

The objects are plain dicts for server-side apply, in the order they are applied; what is wrong is
Problems, and an error in the parameters leaves no objects at all. Source:
docs/protocol/waypoint-deployment.md WO-1 to WO-27.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.controllers.errors import OverlayError
from controlplane.controllers.waypoint_identity import WaypointIdentity, waypoint_identity
from controlplane.controllers.waypoint_overlays import lay_over, read_overlays
from controlplane.controllers.waypoint_pod import (
    DIRECTORY,
    ROOT_DIRECTORY,
    TOKEN_DIRECTORY,
    waypoint_deployment,
)
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.encode.bootstrap import Bootstrap, bootstrap_files
from controlplane.manifests.core import ConfigMap, ServicePort
from controlplane.manifests.gateway import Gateway, GatewayClass
from controlplane.mesh.expansion_waypoints import is_managed, service_of
from controlplane.mesh.waypoint_gateways import is_waypoint_class
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from controlplane.model.problem import Problem, Severity

FIELD_MANAGER: Final = "istio.io/gateway-controller"
CONTROLLER_VERSION: Final = "gateway.istio.io/controller-version"
INVALID_PARAMETERS: Final = "waypoint.invalid-parameters"
UNSUPPORTED_ADDRESS: Final = "waypoint.unsupported-address"
INVALID_NAME: Final = "waypoint.invalid-name"

_NEWEST_VERSION: Final = 5
_SERVICE_TYPE: Final = "networking.istio.io/service-type"
_SERVICE_TYPES: Final = frozenset({"ClusterIP", "LoadBalancer", "NodePort"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointObjects:
    """What to apply for one Gateway, first things first, and what is wrong with its wishes."""

    objects: tuple[dict[str, Any], ...] = ()
    problems: tuple[Problem, ...] = ()


def is_deployed(gateway: Gateway, gateway_class: GatewayClass | None) -> bool:
    """Return whether we deploy the Gateway: not somebody else, nor a newer control plane."""
    return (
        is_waypoint_class(gateway.class_name, gateway_class)
        and is_managed(gateway)
        and not gateway.metadata.deleting
        and is_known_version(gateway)
    )


def is_known_version(gateway: Gateway) -> bool:
    """Return whether no newer control plane has taken the Gateway."""
    return _is_known_version(gateway.metadata.annotations.get(CONTROLLER_VERSION))


def is_abandoned(gateway: Gateway, gateway_class: GatewayClass | None) -> bool:
    """Return whether what was deployed for the Gateway is wanted no more, and nobody else's now.

    That has to be said: by the Gateway, which is to be reached elsewhere, or by a class of another
    controller. A class that is merely missing says nothing.
    """
    if gateway.metadata.deleting or not is_known_version(gateway):
        return False
    if is_waypoint_class(gateway.class_name, gateway_class):
        return not is_managed(gateway)
    return gateway_class is not None


def parameters_of(gateway: Gateway) -> Name | None:
    """Return the ConfigMap that the Gateway refers to; None when it refers to none."""
    stated = gateway.infrastructure
    if stated is None or stated.parameters is None:
        return None
    return Name(gateway.metadata.namespace, stated.parameters.name)


def waypoint_objects(
    gateway: Gateway,
    settings: WaypointSettings,
    *,
    defaults: ConfigMap | None = None,
    parameters: ConfigMap | None = None,
) -> WaypointObjects:
    """Return what to apply for a Gateway that ``is_deployed``.

    ``defaults`` is the ConfigMap of the class (``class_defaults``), ``parameters`` the one that
    ``parameters_of`` names, None when it does not exist.
    """
    refusals = [*_address_problems(gateway), *_reference_problems(gateway, parameters)]
    identity, problems = waypoint_identity(gateway, settings)
    if identity is None or refusals:
        return WaypointObjects(problems=(*refusals, *problems))
    service, service_problems = _service(gateway, identity)
    objects = [
        _service_account(identity),
        *_deployment(identity, settings),
        service,
    ]
    for config_map in (defaults, parameters):
        if config_map is None:
            continue
        try:
            objects = _changed(identity, objects, read_overlays(config_map))
        except OverlayError as error:
            problem = Problem(
                severity=Severity.ERROR,
                code=INVALID_PARAMETERS,
                message=f"{config_map.reference}: {error}",
                object=gateway.reference,
                field=error.field or None,
            )
            return WaypointObjects(problems=(problem, *problems, *service_problems))
    return WaypointObjects(objects=tuple(objects), problems=(*problems, *service_problems))


def _is_known_version(text: str | None) -> bool:
    if text is None:
        return True
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= _NEWEST_VERSION


def _address_problems(gateway: Gateway) -> list[Problem]:
    return [
        Problem(
            severity=Severity.ERROR,
            code=UNSUPPORTED_ADDRESS,
            message=f'"{address.value}" is not an IP address',
            object=gateway.reference,
            field=f"spec.addresses[{index}].value",
        )
        for index, address in enumerate(gateway.addresses)
        if address.value and address_from_text(address.value) is None
    ]


def _reference_problems(gateway: Gateway, parameters: ConfigMap | None) -> list[Problem]:
    key = parameters_of(gateway)
    if key is None or gateway.infrastructure is None or gateway.infrastructure.parameters is None:
        return []
    reference = gateway.infrastructure.parameters
    if (reference.group, reference.kind) != ("", "ConfigMap"):
        message = f'Unsupported parametersRef group/kind "{reference.group}/{reference.kind}"'
    elif parameters is None:
        message = f"parametersRef ConfigMap {key} does not exist"
    else:
        return []
    problem = Problem(
        severity=Severity.ERROR,
        code=INVALID_PARAMETERS,
        message=message,
        object=gateway.reference,
        field="spec.infrastructure.parametersRef",
    )
    return [problem]


def _service_account(identity: WaypointIdentity) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": identity.metadata(identity.service_account),
    }


def waypoint_files(
    gateway: Gateway, settings: WaypointSettings
) -> tuple[Mapping[str, str] | None, tuple[Problem, ...]]:
    """Return the files that the proxy of a Gateway is started with, and what is wrong with it.

    None where the Gateway can be deployed under no name.
    """
    identity, problems = waypoint_identity(gateway, settings)
    return None if identity is None else _files(identity, settings), problems


def _files(identity: WaypointIdentity, settings: WaypointSettings) -> dict[str, str]:
    bootstrap = Bootstrap(
        gateway=identity.gateway,
        workload=identity.workload,
        service_account=identity.service_account,
        discovery_host=settings.discovery_host,
        discovery_port=settings.discovery_port,
        cluster_id=settings.cluster_id,
        network=identity.labels.get("topology.istio.io/network", settings.network),
        listen_address=settings.listen_address,
        directory=DIRECTORY,
        root_directory=ROOT_DIRECTORY,
        token_directory=TOKEN_DIRECTORY,
    )
    return bootstrap_files(bootstrap)


def _deployment(identity: WaypointIdentity, settings: WaypointSettings) -> list[dict[str, Any]]:
    """Return the ConfigMap of the proxy and the Deployment that mounts it."""
    files = _files(identity, settings)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(identity.bootstrap),
        "data": files,
    }
    return [config_map, waypoint_deployment(identity, settings, files)]


def _service(
    gateway: Gateway, identity: WaypointIdentity
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    wish = gateway.metadata.annotations.get(_SERVICE_TYPE, "ClusterIP")
    problems: tuple[Problem, ...] = ()
    if wish not in _SERVICE_TYPES:
        problem = Problem(
            severity=Severity.ERROR,
            code="waypoint.invalid-service-type",
            message=f'"{wish}" is not a type that a waypoint\'s Service can have',
            object=gateway.reference,
            field=f'metadata.annotations["{_SERVICE_TYPE}"]',
        )
        wish, problems = "ClusterIP", (problem,)
    spec: dict[str, Any] = {
        "type": wish,
        "ipFamilyPolicy": "PreferDualStack",
        "selector": identity.selector,
        "ports": [_port(port) for port in service_of(gateway).ports],
    }
    for address in gateway.addresses:
        if address.value:
            spec["loadBalancerIP" if wish == "LoadBalancer" else "clusterIP"] = address.value
    defaults = {"networking.istio.io/traffic-distribution": "PreferClose"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": identity.metadata(identity.workload, defaults),
        "spec": spec,
    }
    return service, problems


def _port(port: ServicePort) -> dict[str, Any]:
    return {
        "name": port.name,
        "port": port.port,
        "protocol": "TCP",
        "targetPort": port.target_port,
        "appProtocol": port.app_protocol,
    }


def _changed(
    identity: WaypointIdentity,
    objects: list[dict[str, Any]],
    overlays: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the objects as the overlays want them; an overlay may bring one that was not there."""
    held = {item["kind"] for item in objects}
    optional = [item for item in _on_request(identity) if item["kind"] in overlays.keys() - held]
    return [
        _owned(identity, lay_over(item, overlays[item["kind"]]))
        if item["kind"] in overlays
        else item
        for item in (*objects, *optional)
    ]


def _owned(identity: WaypointIdentity, item: dict[str, Any]) -> dict[str, Any]:
    """Put back the labels that say whose the object is."""
    metadata = item["metadata"]
    labels = {**(metadata.get("labels") or {}), **identity.own_labels}
    return {**item, "metadata": {**metadata, "labels": labels}}


def _on_request(identity: WaypointIdentity) -> list[dict[str, Any]]:
    """Return what is made only when an overlay is there for it."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": identity.workload}
    return [
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": identity.metadata(identity.workload),
            "spec": {"maxReplicas": 1, "scaleTargetRef": target},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": identity.metadata(identity.workload),
            "spec": {"selector": {"matchLabels": identity.selector}},
        },
    ]
