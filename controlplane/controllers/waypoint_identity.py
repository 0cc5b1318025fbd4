"""How a waypoint's objects are called and labelled: a Gateway in, names, labels and owners out.

Whatever is wrong with a wish for a name is a Problem, and the name that holds without the wish is
used. Source: docs/protocol/waypoint-deployment.md WO-5 to WO-9.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.manifests.gateway import Gateway
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
GATEWAY_CLASS_NAME: Final = "gateway.networking.k8s.io/gateway-class-name"
MANAGED: Final = "gateway.istio.io/managed"
MANAGED_BY_US: Final = "istio.io-mesh-controller"
NETWORK: Final = "topology.istio.io/network"

_NAME_OVERRIDE: Final = "gateway.istio.io/name-override"
_SERVICE_ACCOUNT: Final = "gateway.istio.io/service-account"
_NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "gateway.istio.io/controller-version",
        _NAME_OVERRIDE,
        _SERVICE_ACCOUNT,
    }
)
_RESERVED: Final = "gateway.networking.k8s.io/"
# A Service's name is a label of DNS that starts with a letter; an account's is a DNS name.
_SERVICE_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_ACCOUNT_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaypointIdentity:
    """Names, labels and annotations shared by what one Gateway is deployed as.

    ``workload`` names the Deployment and the Service, ``bootstrap`` the ConfigMap of the proxy.
    ``own_labels`` are the three that nobody may change.
    """

    gateway: Name
    uid: str
    workload: str
    service_account: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    own_labels: Mapping[str, str]

    @property
    def bootstrap(self) -> str:
        """Return the name of the ConfigMap that the proxy is started with."""
        return f"{self.workload}-bootstrap"

    @property
    def selector(self) -> dict[str, str]:
        """Return what selects the pods."""
        return {GATEWAY_NAME: self.gateway.name}

    def metadata(self, name: str, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the metadata of one object; ``annotations`` are defaults beside the shared."""
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": self.gateway.namespace,
            "labels": {**self.labels, **self.own_labels},
        }
        held = {**(annotations or {}), **self.annotations}
        if held:
            metadata["annotations"] = held
        if self.uid:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": "gateway.networking.k8s.io/v1",
                    "kind": "Gateway",
                    "name": self.gateway.name,
                    "uid": self.uid,
                }
            ]
        return metadata


def waypoint_identity(
    gateway: Gateway, settings: WaypointSettings
) -> tuple[WaypointIdentity | None, tuple[Problem, ...]]:
    """Return how the objects are called, None when nothing can be called after the Gateway."""
    problems: list[Problem] = []
    metadata = gateway.metadata
    workload = _wished(gateway, _NAME_OVERRIDE, _SERVICE_NAME, problems) or metadata.name
    # The Gateway's own name is a label of every object too.
    if not _SERVICE_NAME.fullmatch(workload) or len(metadata.name) > 63:
        problem = Problem(
            severity=Severity.ERROR,
            code="waypoint.invalid-name",
            message=f'"{metadata.name}" cannot name a Service',
            object=gateway.reference,
            field="metadata.name",
        )
        return None, (problem, *problems)
    account = _wished(gateway, _SERVICE_ACCOUNT, _ACCOUNT_NAME, problems) or workload
    labels, annotations = _infrastructure(gateway)
    if settings.network and NETWORK not in metadata.labels:
        labels.setdefault(NETWORK, settings.network)
    identity = WaypointIdentity(
        gateway=gateway.key,
        uid=metadata.uid,
        workload=workload,
        service_account=account,
        labels=labels,
        annotations=annotations,
        own_labels={
            GATEWAY_NAME: metadata.name,
            GATEWAY_CLASS_NAME: gateway.class_name,
            MANAGED: MANAGED_BY_US,
        },
    )
    return identity, tuple(problems)


def _wished(
    gateway: Gateway, annotation: str, names: re.Pattern[str], problems: list[Problem]
) -> str:
    """Return the name that an annotation asks for; "" when there is none that can be used."""
    wish = gateway.metadata.annotations.get(annotation, "")
    if not wish or names.fullmatch(wish):
        return wish
    problems.append(
        Problem(
            severity=Severity.ERROR,
            code="waypoint.invalid-name",
            message=f'"{wish}" is not a name that the object can have; the wish is not followed',
            object=gateway.reference,
            field=f'metadata.annotations["{annotation}"]',
        )
    )
    return ""


def _infrastructure(gateway: Gateway) -> tuple[dict[str, str], dict[str, str]]:
    """Return what is copied onto every object: labels, then annotations (WO-7, WO-8)."""
    stated = gateway.infrastructure
    return (
        _copied(gateway.metadata.labels, None if stated is None else stated.labels),
        _copied(gateway.metadata.annotations, None if stated is None else stated.annotations),
    )


def _copied(own: Mapping[str, str], stated: Mapping[str, str] | None) -> dict[str, str]:
    if stated is None:
        return {key: value for key, value in own.items() if key not in _NOT_COPIED}
    return {
        key: value
        for key, value in stated.items()
        if key not in _NOT_COPIED and not key.startswith(_RESERVED)
    }
