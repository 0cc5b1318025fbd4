"""Waypoints as people order and see them: choices in, a Gateway out; Gateways in, rows out.

Columns are those that users of istioctl know.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.mesh.namespaces import REVISION_LABEL
from controlplane.mesh.waypoint_gateways import HBONE, HBONE_PORT, WAYPOINT_CLASS, WAYPOINT_FOR

_DEFAULT_TRAFFIC: Final = "service"
_DEFAULT_REVISION: Final = "default"
_UNKNOWN: Final = "Unknown"
_PROGRAMMED: Final = "Programmed"


def waypoint_manifest(
    name: str, *, namespace: str | None, traffic: str | None, revision: str | None
) -> dict[str, Any]:
    """Return the Gateway that asks for a waypoint, as JSON; what is None is left out."""
    labels = {WAYPOINT_FOR: traffic, REVISION_LABEL: revision}
    given = {label: value for label, value in labels.items() if value}
    metadata: dict[str, Any] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    if given:
        metadata["labels"] = given
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": metadata,
        "spec": {
            "gatewayClassName": WAYPOINT_CLASS,
            "listeners": [{"name": "mesh", "port": HBONE_PORT, "protocol": HBONE}],
        },
    }


def is_waypoint_document(gateway: Mapping[str, Any]) -> bool:
    """Return whether a Gateway, as JSON, is of the class that these commands look after."""
    return (gateway.get("spec") or {}).get("gatewayClassName") == WAYPOINT_CLASS


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCondition:
    """One condition of a Gateway, as text."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownWaypoint:
    """What is shown of one waypoint. ``programmed`` is True, False or Unknown, as text.

    It is Unknown too while what was found out belongs to an older state of the Gateway.
    """

    namespace: str
    name: str
    revision: str
    traffic: str
    programmed: str
    conditions: tuple[ShownCondition, ...]

    @property
    def is_programmed(self) -> bool:
        """Return whether it works as it was ordered."""
        return self.programmed == "True"


def shown(gateways: Iterable[Mapping[str, Any]]) -> tuple[ShownWaypoint, ...]:
    """Return the waypoints among Gateways by namespace and name; any JSON of theirs will do."""
    found = (_shown(each) for each in gateways if is_waypoint_document(each))
    return tuple(sorted(found, key=lambda each: (each.namespace, each.name)))


def list_rows(
    waypoints: Sequence[ShownWaypoint], *, with_namespace: bool
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of ``waypoint list``."""
    return _with_namespace(
        ["NAME", "REVISION", "TRAFFIC TYPE", "PROGRAMMED"],
        ((each, [each.name, each.revision, each.traffic, each.programmed]) for each in waypoints),
        with_namespace=with_namespace,
    )


def status_rows(
    waypoints: Sequence[ShownWaypoint], *, with_namespace: bool
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of ``waypoint status``: one for each condition, at least one."""
    nothing = ShownCondition(
        type=_PROGRAMMED, status=_UNKNOWN, reason="Pending", message="Nobody has looked at it yet"
    )
    return _with_namespace(
        ["NAME", "STATUS", "TYPE", "REASON", "MESSAGE"],
        (
            (each, [each.name, found.status, found.type, found.reason, found.message])
            for each in waypoints
            for found in each.conditions or (nothing,)
        ),
        with_namespace=with_namespace,
    )


def list_documents(waypoints: Sequence[ShownWaypoint]) -> list[dict[str, Any]]:
    """Return the same as ``list_rows`` for machines."""
    return [
        {
            "namespace": each.namespace,
            "name": each.name,
            "revision": each.revision,
            "trafficType": each.traffic,
            "programmed": each.programmed,
        }
        for each in waypoints
    ]


def status_documents(waypoints: Sequence[ShownWaypoint]) -> list[dict[str, Any]]:
    """Return the same as ``status_rows`` for machines."""
    return [
        {
            "namespace": each.namespace,
            "name": each.name,
            "programmed": each.programmed,
            "conditions": [
                {
                    "type": found.type,
                    "status": found.status,
                    "reason": found.reason,
                    "message": found.message,
                }
                for found in each.conditions
            ],
        }
        for each in waypoints
    ]


def _shown(gateway: Mapping[str, Any]) -> ShownWaypoint:
    metadata = gateway["metadata"]
    labels = metadata.get("labels") or {}
    conditions = [
        each
        for each in (gateway.get("status") or {}).get("conditions") or ()
        if isinstance(each, dict)
    ]
    generation = int(metadata.get("generation") or 0)
    programmed = next(
        (
            _text(each, "status") or _UNKNOWN
            for each in conditions
            if each.get("type") == _PROGRAMMED
            and int(each.get("observedGeneration") or generation) >= generation
        ),
        _UNKNOWN,
    )
    return ShownWaypoint(
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata["name"]),
        revision=str(labels.get(REVISION_LABEL) or _DEFAULT_REVISION),
        traffic=str(labels.get(WAYPOINT_FOR) or _DEFAULT_TRAFFIC),
        programmed=programmed,
        conditions=tuple(
            ShownCondition(
                type=_text(each, "type"),
                status=_text(each, "status"),
                reason=_text(each, "reason"),
                message=_text(each, "message"),
            )
            for each in sorted(conditions, key=lambda each: _text(each, "type"))
        ),
    )


def _text(condition: Mapping[str, Any], field: str) -> str:
    return str(condition.get(field) or "")


def _with_namespace(
    header: list[str],
    rows: Iterable[tuple[ShownWaypoint, list[str]]],
    *,
    with_namespace: bool,
) -> tuple[list[str], list[list[str]]]:
    if not with_namespace:
        return header, [row for _, row in rows]
    return ["NAMESPACE", *header], [[each.namespace, *row] for each, row in rows]
