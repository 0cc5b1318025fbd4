"""Statuses as they are applied: wanted conditions and the object as it is now in, JSON out.

Pure; ``gateway_classes`` and ``gateway_status`` send them (docs/protocol/gateway-status.md GS-3 to
GS-5).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from controlplane.controllers.condition_entries import condition_entry
from controlplane.controllers.gateway_conditions import ListenerStatus, WantedStatus
from controlplane.controllers.live_objects import Live
from controlplane.manifests.gateway import Gateway, GatewayAddress
from controlplane.model.names import Name
from controlplane.model.problem import Condition

GATEWAY_API: Final = "gateway.networking.k8s.io/v1"


def class_patch(name: str, condition: Condition, live: Live | None, now: datetime) -> Live:
    """Return what to apply to the status of a GatewayClass."""
    held = _held(live)
    return {
        "apiVersion": GATEWAY_API,
        "kind": "GatewayClass",
        "metadata": {"name": name},
        "status": {"conditions": _conditions((condition,), held.get("conditions"), now)},
    }


def gateway_patch(key: Name, wanted: WantedStatus, live: Live | None, now: datetime) -> Live:
    """Return what to apply to the status of a Gateway; what it does not name is not ours."""
    held = _held(live)
    status: dict[str, Any] = {
        "conditions": _conditions(wanted.conditions, held.get("conditions"), now)
    }
    if wanted.listeners:
        before = _by("name", held.get("listeners"))
        status["listeners"] = [
            _listener(listener, before.get(listener.name), now) for listener in wanted.listeners
        ]
    if wanted.addresses:
        status["addresses"] = [_address(address) for address in wanted.addresses]
    return {
        "apiVersion": GATEWAY_API,
        "kind": "Gateway",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "status": status,
    }


def with_addresses_of(gateway: Gateway, live: Live | None) -> tuple[GatewayAddress, ...]:
    """Return the addresses that were written: ``live`` knows of later ones than ``gateway``."""
    if live is None:
        return gateway.status_addresses
    return tuple(
        GatewayAddress(str(address.get("type") or ""), str(address.get("value") or ""))
        for address in _held(live).get("addresses") or ()
        if isinstance(address, Mapping)
    )


def _listener(listener: ListenerStatus, before: Live | None, now: datetime) -> dict[str, Any]:
    return {
        "name": listener.name,
        "supportedKinds": [],
        "attachedRoutes": 0,
        "conditions": _conditions(listener.conditions, (before or {}).get("conditions"), now),
    }


def _conditions(conditions: Iterable[Condition], held: Any, now: datetime) -> list[dict[str, Any]]:
    before = _by("type", held)
    return [
        condition_entry(each, before.get(each.type), now, generation=each.observed_generation)
        for each in conditions
    ]


def _address(address: GatewayAddress) -> dict[str, str]:
    stated = {"value": address.value}
    return {"type": address.type, **stated} if address.type else stated


def _held(live: Live | None) -> Mapping[str, Any]:
    status = (live or {}).get("status")
    return status if isinstance(status, Mapping) else {}


def _by(key: str, items: Any) -> dict[str, Live]:
    return {str(item.get(key)): item for item in items or () if isinstance(item, Mapping)}
