"""``status.parents[]`` of a route: what it has and what it should have in, a JSON patch out.

Also for policies, whose list is called ``ancestors``. The lists are wholes that several controllers
share: entries of others are carried along, and nothing is written over that was not seen. Pure;
``route_statuses`` sends it (docs/protocol/route-status.md RT-1 to RT-9).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from controlplane.controllers.condition_entries import condition_entry
from controlplane.model.route_parent import RouteParent

CONTROLLER_NAME: Final = "istio.io/gateway-controller"

_GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
_OF_GATEWAYS: Final = frozenset({"Gateway", "ListenerSet", "XListenerSet"})

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusList:
    """Where a kind keeps it: ``field`` of the status, ``reference`` of an entry, at most ``most``.

    ``references`` is where the spec names parents; an entry says each as it stands there.
    """

    field: str
    reference: str
    references: str
    most: int


_ROUTES: Final = StatusList(
    field="parents", reference="parentRef", references="parentRefs", most=32
)
LISTS: Final[Mapping[str, StatusList]] = MappingProxyType(
    {
        "HTTPRoute": _ROUTES,
        "GRPCRoute": _ROUTES,
        "TCPRoute": _ROUTES,
        "TLSRoute": _ROUTES,
        "BackendTLSPolicy": StatusList(
            field="ancestors", reference="ancestorRef", references="targetRefs", most=16
        ),
    }
)
"""Every kind that is told what its parents make of it."""


class Settled(NamedTuple):
    """The whole list as it should be; ``left_out`` counts entries that it has no room for."""

    entries: list[Json]
    left_out: int = 0


class _Place(NamedTuple):
    """A parent, whatever is written and whatever is left to defaults."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str
    port: int


def settle(live: Json, where: StatusList, wanted: Iterable[RouteParent], now: datetime) -> Settled:
    """Return the list that ``live`` should have; ``now`` stamps what changes.

    Entries of others stay, and come first where there is no room for all.
    """
    there = entries_of(live, where)
    namespace = _namespace(live)
    ours = {
        _place(entry.get(where.reference), namespace): entry for entry in there if _is_ours(entry)
    }
    asked = _references(live, where)
    written = {_place(reference, namespace): reference for reference in reversed(asked)}
    told = {}
    for parent in wanted:
        place = _place(parent.parent._asdict(), namespace)
        reference = written.get(place) or _reference(parent)
        told[place] = _entry(where, reference, parent, ours.get(place), now)
    others = [entry for entry in there if not _is_ours(entry)]
    kept = [
        entry
        for place, entry in ours.items()
        if place not in told and place.kind in _OF_GATEWAYS and place in written
    ]
    room = max(0, where.most - len(others) - len(kept))
    new = [told[place] for place in sorted(told)]
    return Settled([*others, *kept, *new[:room]], max(0, len(new) - room))


def is_settled(live: Json, where: StatusList, settled: Settled) -> bool:
    """Tell whether ``live`` says the same already, in whatever order."""
    there = entries_of(live, where)
    return len(there) == len(settled.entries) and all(entry in there for entry in settled.entries)


def patch_of(live: Json, where: StatusList, settled: Settled) -> list[dict[str, Any]]:
    """Return the JSON patch that gives ``live`` the list, if nobody has changed it since."""
    version = (live.get("metadata") or {}).get("resourceVersion")
    tested = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    if isinstance(live.get("status"), dict):
        return [tested, {"op": "add", "path": f"/status/{where.field}", "value": settled.entries}]
    value = {where.field: settled.entries}
    return [tested, {"op": "add", "path": "/status", "value": value}]


def entries_of(live: Json, where: StatusList) -> list[dict[str, Any]]:
    """Return the entries that are there; nothing where that is not what it should be."""
    status = live.get("status")
    entries = status.get(where.field) if isinstance(status, dict) else None
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def has_ours(live: Json, where: StatusList) -> bool:
    """Tell whether some entry is by a controller of our name."""
    return any(_is_ours(entry) for entry in entries_of(live, where))


def _is_ours(entry: Json) -> bool:
    return entry.get("controllerName") == CONTROLLER_NAME


def _namespace(live: Json) -> str:
    return str((live.get("metadata") or {}).get("namespace") or "")


def _references(live: Json, where: StatusList) -> list[Json]:
    spec = live.get("spec")
    found = spec.get(where.references) if isinstance(spec, dict) else None
    return [each for each in found or () if isinstance(each, dict)]


def _place(reference: Any, namespace: str) -> _Place:
    """Return whom ``reference`` means, in JSON or by the names that our values have."""
    found = reference if isinstance(reference, dict) else {}
    kind = str(found.get("kind") or "Gateway")
    port = found.get("port")
    group = found.get("group") or (_GATEWAY_GROUP if kind in _OF_GATEWAYS else "")
    return _Place(
        group=str(group),
        kind=kind,
        namespace=str(found.get("namespace") or namespace),
        name=str(found.get("name") or ""),
        section=str(found.get("sectionName") or found.get("section") or ""),
        port=port if isinstance(port, int) else 0,
    )


def _reference(parent: RouteParent) -> Json:
    """Return a reference to what the object as it is now does not name: only what is set."""
    group, kind, namespace, name, section, port = parent.parent
    rest = {"namespace": namespace, "sectionName": section, "port": port}
    # An empty group is one: that of Services.
    return {
        "group": group,
        "kind": kind or "Gateway",
        "name": name,
        **{field: value for field, value in rest.items() if value},
    }


def _entry(
    where: StatusList, reference: Json, parent: RouteParent, before: Json | None, now: datetime
) -> Json:
    held = (before or {}).get("conditions")
    conditions = {
        str(each.get("type")): each
        for each in (held if isinstance(held, Sequence) else ())
        if isinstance(each, dict)
    }
    return {
        "controllerName": CONTROLLER_NAME,
        where.reference: dict(reference),
        "conditions": [
            condition_entry(
                each, conditions.get(each.type), now, generation=parent.observed_generation or None
            )
            for each in parent.conditions
        ],
    }
