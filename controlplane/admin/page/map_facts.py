"""What the map is of: the committed mesh in, boxes and the lines between them out.

A box for each service and waypoint, one for each account that calls and is no service's, and one
for whoever is named otherwise. Lines tell who may call by policy (``insight.reachability``); where
no policy names callers there is none, and the box says that everybody may.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import quote

from controlplane.admin.mesh_view import MeshView
from controlplane.admin.page.map_values import Box, BoxKind, Flow, FlowKind
from controlplane.admin.queries import ElementQuery, ServiceQuery
from controlplane.admin.values.mesh import ServiceValue, WaypointValue
from controlplane.admin.viewer import Viewer
from controlplane.insight.reachability import Caller, Callers, callers
from controlplane.model.names import Name, ServiceName
from controlplane.model.policy import Authorization, Scope
from controlplane.model.workload import Workload

SERVICES: Final = 200
"""Services on one map; a namespace narrows it."""

_MEMBERS: Final = 2000
_SLICE: Final = 256
_FEW: Final = 250
"""Lines up to which accounts of another namespace are told apart."""

_FEW_OUTSIDE: Final = 24
"""Accounts of namespaces that are not on the map, up to which they are told apart."""

OUTSIDE: Final = "outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOnMap:
    """A service and who may call it."""

    service: ServiceValue
    callers: Callers
    key: str
    access: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFacts:
    """Everything the map shows, ``services`` in the words of a table as well."""

    services: tuple[ServiceOnMap, ...]
    waypoints: tuple[WaypointValue, ...]
    boxes: tuple[Box, ...]
    flows: tuple[Flow, ...]
    is_cut: bool


@dataclass(slots=True)
class _Found:
    services: list[ServiceOnMap] = field(default_factory=list)
    accounts: dict[Name, list[str]] = field(default_factory=dict)


async def map_facts(view: MeshView, viewer: Viewer, namespace: str = "") -> MapFacts:
    """Return what the map of a namespace, or of the whole mesh for "", shows ``viewer``."""
    page = await view.services.page(viewer, ServiceQuery(namespace=namespace, limit=SERVICES))
    waypoints = await view.gateways.waypoints(
        viewer, ElementQuery(namespace=namespace, limit=SERVICES)
    )
    shared = [
        policy
        for _, policy in view.knowledge.pipeline.world.authorizations.items()
        if policy.scope is not Scope.WORKLOAD_SELECTOR
    ]
    found = _Found()
    for service in page.items:
        await _add(view, viewer, service, shared, found)
    boxes, flows = _drawn(found, waypoints.items)
    return MapFacts(
        services=tuple(found.services),
        waypoints=waypoints.items,
        boxes=boxes,
        flows=flows,
        is_cut=page.next is not None,
    )


async def _add(
    view: MeshView,
    viewer: Viewer,
    service: ServiceValue,
    shared: Sequence[Authorization],
    found: _Found,
) -> None:
    """Judge one service by what its workloads have in common, and note whose accounts they use."""
    key = ServiceName(service.namespace, service.hostname)
    alike: dict[tuple[str, tuple[Name, ...]], None] = {}
    accounts: dict[Name, None] = {}
    # Whoever reads committed collections between two turns of the loop must not keep iterators.
    for number, workload in enumerate(tuple(islice(_members(view, key), _MEMBERS)), start=1):
        alike[workload.namespace, workload.authorization_policies] = None
        if workload.service_account:
            accounts[Name(workload.namespace, workload.service_account)] = None
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    policies = view.knowledge.pipeline.world.authorizations
    told: Callers | None = None
    for space, names in alike:
        applying = [
            policy for policy in shared if policy.scope is Scope.GLOBAL or policy.namespace == space
        ]
        named = (policies.get(name) for name in names)
        one = callers([*applying, *(policy for policy in named if policy is not None)])
        told = one if told is None else told.joined(one)
    verdict = told or Callers()
    node = f"service {key}"
    for account in accounts:
        if viewer.may_see(account.namespace):
            found.accounts.setdefault(account, []).append(node)
    found.services.append(
        ServiceOnMap(
            service=service,
            callers=verdict,
            key=node,
            access=access_text(verdict),
            tone=_tone(service),
        )
    )
    await asyncio.sleep(0)


def access_text(found: Callers) -> str:
    """Return in a few words who may call."""
    if not found.is_open and not found.allowed:
        return "nobody may call"
    if found.is_open:
        text = "any identity may call" if found.needs_identity else "anybody may call"
        return f"{text}, some denied" if found.denied or found.denies_more else text
    count = len(found.allowed)
    return f"{count} caller{'s' if count != 1 else ''} allowed"


def _members(view: MeshView, key: ServiceName) -> Iterator[Workload]:
    workloads = view.knowledge.pipeline.world.workloads
    for uid in view.services.members(key):
        workload = workloads.get(uid)
        if workload is not None:
            yield workload


def _tone(service: ServiceValue) -> str:
    if not service.endpoints:
        return "calm"
    if service.healthy == service.endpoints:
        return "good"
    return "warn" if service.healthy else "bad"


def _drawn(
    found: _Found, waypoints: Iterable[WaypointValue]
) -> tuple[tuple[Box, ...], tuple[Flow, ...]]:
    boxes = {each.key: _service_box(each) for each in found.services}
    through = {each.address: f"waypoint {each.namespace}/{each.name}" for each in waypoints}
    drawn_as: dict[str, str] = {}
    for waypoint in waypoints:
        own = _waypoint_box(waypoint)
        boxes[own.key] = own
        # A waypoint's own Service is the waypoint: it is drawn once.
        for key in [
            each.key
            for each in found.services
            if f"{each.service.namespace}/{each.service.hostname}" == waypoint.address
        ]:
            boxes.pop(key, None)
            drawn_as[key] = own.key
    groups = {box.group for box in boxes.values()}
    flows: dict[Flow, None] = {}
    named = [caller for each in found.services for caller in _named(each.callers)]
    outside = {each for each in named if each.account and each.namespace not in groups}
    is_bundled = _Bundled(within=len(named) > _FEW, outside=len(outside) > _FEW_OUTSIDE)
    for each in found.services:
        if each.key not in boxes:
            continue
        waypoint_key = through.get(each.service.waypoint)
        if waypoint_key is not None:
            flows[Flow(each.key, waypoint_key, FlowKind.THROUGH)] = None
        for kind, some in (
            (FlowKind.DENY, each.callers.denied),
            (FlowKind.ALLOW, each.callers.allowed),
        ):
            for caller in sorted(some):
                told = is_bundled.told(caller, each.service.namespace, groups)
                for source in _sources(told, found.accounts, groups):
                    box = source if isinstance(source, Box) else None
                    if box is not None:
                        boxes.setdefault(box.key, box)
                    name = source if isinstance(source, str) else source.key
                    flows[Flow(drawn_as.get(name, name), each.key, kind)] = None
    return tuple(boxes.values()), tuple(flows)


class _Bundled(NamedTuple):
    """Whether lines are drawn from namespaces, where there are too many from single accounts."""

    within: bool
    outside: bool

    def told(self, caller: Caller, namespace: str, groups: set[str]) -> Caller:
        """Return whom the line to a service of ``namespace`` comes from."""
        if not caller.account or caller.namespace == namespace:
            return caller
        is_bundled = self.within if caller.namespace in groups else self.outside
        return Caller(caller.namespace) if is_bundled else caller


def _named(found: Callers) -> Iterator[Caller]:
    yield from found.allowed
    yield from found.denied


def _sources(
    caller: Caller, accounts: Mapping[Name, Sequence[str]], groups: set[str]
) -> Sequence[str | Box]:
    """Return what on the map a caller is: boxes, a group, or a box made for it."""
    if caller.account:
        name = Name(caller.namespace, caller.account)
        boxes = accounts.get(name)
        if boxes:
            return boxes
        group = caller.namespace if caller.namespace in groups else OUTSIDE
        label = caller.account if group != OUTSIDE else str(name)
        kind = BoxKind.ACCOUNT if group != OUTSIDE else BoxKind.OUTSIDE
        return (Box(f"account {name}", group, kind, label, note="service account"),)
    if caller.namespace in groups:
        return (caller.namespace,)
    note = "namespace" if caller.namespace else "identities"
    return (Box(f"caller {caller}", OUTSIDE, BoxKind.OUTSIDE, str(caller), note=note),)


def _service_box(each: ServiceOnMap) -> Box:
    service = each.service
    place = f"{quote(service.namespace, safe='')}/{quote(service.hostname, safe='')}"
    return Box(
        key=each.key,
        group=service.namespace,
        kind=BoxKind.SERVICE,
        label=service.name,
        amount=f"{service.healthy}/{service.endpoints}",
        note=each.access,
        tone=each.tone,
        href=f"/services/{place}",
    )


def _waypoint_box(waypoint: WaypointValue) -> Box:
    return Box(
        key=f"waypoint {waypoint.namespace}/{waypoint.name}",
        group=waypoint.namespace,
        kind=BoxKind.WAYPOINT,
        label=waypoint.name,
        note=f"waypoint for {waypoint.serves}",
        href=f"/waypoints?namespace={quote(waypoint.namespace, safe='')}",
    )
