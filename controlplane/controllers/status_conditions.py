"""What an object is told and what it should be told: a live object and conditions in, a write out.

Pure; ``statuses`` sends it. Which field manager keeps which types is the convention of ambient
meshes, so that conditions can change hands with the control plane
(docs/protocol/statuses.md SS-1 to SS-6).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec

from controlplane.cluster.apply import Target
from controlplane.controllers.condition_entries import condition_entry, status_text
from controlplane.mesh.policy_conditions import ZTUNNEL_ACCEPTED, ZTUNNEL_MANAGER
from controlplane.mesh.policy_targets import WAYPOINT_ACCEPTED, WAYPOINT_MANAGER
from controlplane.mesh.service_conditions import (
    SERVICE_MANAGER,
    VISIBILITY_APPLIED,
    WAYPOINT_BOUND,
    WAYPOINT_MISSING,
    WORKLOAD_ENTRY_MANAGER,
)
from controlplane.mesh.traffic_rules import TRAFFIC_RULE_MANAGER
from controlplane.model.problem import Condition

_OF_SERVICES: Final = dict.fromkeys(
    (WAYPOINT_BOUND, WAYPOINT_MISSING, VISIBILITY_APPLIED), SERVICE_MANAGER
)
MANAGERS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "Service": _OF_SERVICES,
        "ServiceEntry": _OF_SERVICES,
        "WorkloadEntry": {WAYPOINT_BOUND: WORKLOAD_ENTRY_MANAGER},
        "AuthorizationPolicy": {
            ZTUNNEL_ACCEPTED: ZTUNNEL_MANAGER,
            WAYPOINT_ACCEPTED: WAYPOINT_MANAGER,
        },
        "RequestAuthentication": {WAYPOINT_ACCEPTED: WAYPOINT_MANAGER},
        "VirtualService": {WAYPOINT_ACCEPTED: TRAFFIC_RULE_MANAGER},
        "DestinationRule": {WAYPOINT_ACCEPTED: TRAFFIC_RULE_MANAGER},
    }
)
"""The field manager of each type, by kind: what is looked for even where nothing is wanted."""


class LiveCondition(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A condition as the API server has it. A generation may be text, by the kind's schema."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int | str | None = None


class LiveStatus(msgspec.Struct, frozen=True):
    """What is read of a status."""

    conditions: list[LiveCondition] | None = None


class LiveMetadata(msgspec.Struct, frozen=True, gc=False):
    """Which object it is."""

    name: str
    namespace: str = ""


class LiveObject(msgspec.Struct, frozen=True):
    """An object of any kind that has conditions."""

    metadata: LiveMetadata
    status: LiveStatus | None = None


def is_different(live: LiveObject, wanted: Mapping[str, Condition], types: Iterable[str]) -> bool:
    """Tell whether of ``types`` the object has other conditions than the ``wanted``, by type."""
    there = _by_type(live)
    return any(
        _is_news(there.get(kind), wanted[kind]) if kind in wanted else kind in there
        for kind in types
    )


def has_news(
    live: Mapping[str, Any], wanted: Mapping[str, Condition], types: Iterable[str], manager: str
) -> bool:
    """Tell whether ``manager`` has anything to write to the ``live`` object.

    A condition that is wanted no more is only ours to remove if ``manager`` has set it.
    """
    there = _conditions_in(live)
    return any(
        _is_news(there.get(kind), wanted[kind])
        if kind in wanted
        else kind in there and _owns(live, manager, kind)
        for kind in types
    )


def status_to_apply(
    target: Target, kind: str, live: Mapping[str, Any], wanted: Iterable[Condition], now: datetime
) -> dict[str, Any]:
    """Return the body that says ``wanted`` and nothing else. ``now`` stamps what changes."""
    there = _conditions_in(live)
    metadata = {"name": target.name}
    if target.namespace:
        metadata["namespace"] = target.namespace
    told = sorted(wanted, key=lambda condition: condition.type)
    return {
        "apiVersion": target.api_version,
        "kind": kind,
        "metadata": metadata,
        "status": {"conditions": [_told(each, there.get(each.type), now) for each in told]},
    }


def _told(condition: Condition, before: LiveCondition | None, now: datetime) -> dict[str, Any]:
    there = None if before is None else msgspec.to_builtins(before)
    return condition_entry(condition, there, now, generation=condition.observed_generation)


def _is_news(there: LiveCondition | None, wanted: Condition) -> bool:
    return there is None or (
        there.status,
        there.reason,
        there.message,
        str(there.observed_generation or 0),
    ) != (status_text(wanted), wanted.reason, wanted.message, str(wanted.observed_generation or 0))


def _by_type(live: LiveObject) -> dict[str, LiveCondition]:
    conditions = (live.status.conditions if live.status else None) or ()
    return {condition.type: condition for condition in conditions}


def _conditions_in(live: Mapping[str, Any]) -> dict[str, LiveCondition]:
    try:
        return _by_type(msgspec.convert(dict(live), LiveObject))
    except msgspec.ValidationError:
        # Whoever wrote that, it is none of ours.
        return {}


def _owns(live: Mapping[str, Any], manager: str, kind: str) -> bool:
    """Tell whether ``manager`` has set the condition ``kind``: alone, or with the whole list."""
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        if entry.get("manager") != manager or entry.get("operation") != "Apply":
            continue
        fields = (entry.get("fieldsV1") or {}).get("f:status") or {}
        if "f:conditions" not in fields:
            continue
        items = [part for part in fields["f:conditions"] or () if part.startswith("k:")]
        if not items or any(_names(part, kind) for part in items):
            return True
    return False


def _names(part: str, kind: str) -> bool:
    try:
        return bool(json.loads(part.removeprefix("k:")).get("type") == kind)
    except (ValueError, AttributeError):
        return False
