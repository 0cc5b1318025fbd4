"""The overview: everything the page knows about health, what is wrong first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controlplane.admin.errors import NotAllowedError, NotKnownHereError
from controlplane.admin.mesh_view import MeshView
from controlplane.admin.queries import (
    CertificateQuery,
    ConnectionQuery,
    NodeQuery,
    ProblemQuery,
)
from controlplane.admin.values.certificates import AuthoritiesValue, CertificateValue
from controlplane.admin.values.fleet import CommitValue, ConnectionValue, FleetValue
from controlplane.admin.values.mesh import ProblemValue
from controlplane.admin.viewer import Viewer
from controlplane.store.errors import StoreError

STATES: Final = ("ERROR", "STALE", "NOT SENT", "SYNCED", "IGNORED")
_SHOWN: Final = 5
_LOOKED_AT: Final = 100
_HOUR: Final = timedelta(hours=1)
_SOON: Final = timedelta(days=7)
_PATIENCE: Final = 2.0
"""Seconds a client may be behind before anybody is told: all are for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Something that wants attention: ``tone`` is bad or warn, ``href`` is where to look."""

    tone: str
    title: str
    detail: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuance:
    """What the ledger says of the last hour; ``trouble`` says why it says nothing."""

    last: CertificateValue | None = None
    issued: int = 0
    refused: tuple[CertificateValue, ...] = ()
    is_more: bool = False
    authorities: AuthoritiesValue | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything on the first page."""

    concerns: tuple[Concern, ...]
    fleet: FleetValue
    states: tuple[tuple[str, int], ...]
    behind: tuple[ConnectionValue, ...]
    problems: tuple[ProblemValue, ...]
    counts: dict[str, int]
    issuance: Issuance
    changes: tuple[CommitValue, ...]
    workloads: int
    services: int
    policies: int
    waypoints: int
    nodes: int


async def overview(
    view: MeshView, viewer: Viewer, waiting_for: Callable[[], list[str]]
) -> Overview:
    """Return what ``viewer`` is told first."""
    fleet = await view.connections.fleet(viewer)
    counts = view.findings.counts(viewer)
    issuance = await _issuance(view, viewer)
    behind = await _behind(view, viewer)
    nodes = await view.nodes.page(viewer, NodeQuery(limit=1))
    space = viewer.namespace
    return Overview(
        concerns=(
            *(_waiting(sentence) for sentence in waiting_for()),
            *_of_fleet(fleet, behind),
            *_of_certificates(view, issuance),
            *_of_problems(counts),
        ),
        fleet=fleet,
        states=tuple((state, fleet.states.get(state, 0)) for state in STATES),
        behind=behind,
        problems=await _worst_problems(view, viewer, counts),
        counts=counts,
        issuance=issuance,
        changes=await _changes(view, viewer),
        workloads=view.workloads.listing.count(space),
        services=view.services.listing.count(space),
        policies=view.policies.listing.count(space),
        waypoints=view.gateways.waypoint_listing.count(space),
        nodes=nodes.total or 0,
    )


async def _behind(view: MeshView, viewer: Viewer) -> tuple[ConnectionValue, ...]:
    found: list[ConnectionValue] = []
    for state in ("ERROR", "STALE", "NOT SENT"):
        page = await view.connections.page(viewer, ConnectionQuery(state=state, limit=_SHOWN))
        found += page.items
    return tuple(found[:_SHOWN])


async def _worst_problems(
    view: MeshView, viewer: Viewer, counts: dict[str, int]
) -> tuple[ProblemValue, ...]:
    found: list[ProblemValue] = []
    for severity in ("error", "warning"):
        if counts.get(severity) and len(found) < _SHOWN:
            page = await view.findings.problems(
                viewer, ProblemQuery(severity=severity, limit=_SHOWN)
            )
            found += page.items
    return tuple(found[:_SHOWN])


async def _changes(view: MeshView, viewer: Viewer) -> tuple[CommitValue, ...]:
    try:
        return await view.commits.recent(viewer, _SHOWN)
    except NotKnownHereError:
        return ()


async def _issuance(view: MeshView, viewer: Viewer) -> Issuance:
    since = view.knowledge.clock.now() - _HOUR
    try:
        last = await view.certificates(viewer, CertificateQuery(limit=1))
        issued = await view.certificates(viewer, CertificateQuery(since=since, limit=_LOOKED_AT))
        refused = await view.certificates(
            viewer, CertificateQuery(outcome="refused", since=since, limit=_LOOKED_AT)
        )
    except NotKnownHereError:
        return Issuance(trouble="This process signs no certificates.")
    except StoreError as error:
        return Issuance(trouble=f"The ledger cannot be read: {error}")
    try:
        authorities: AuthoritiesValue | None = await view.authorities(viewer)
    except (NotAllowedError, NotKnownHereError, StoreError):
        authorities = None
    return Issuance(
        last=last.items[0] if last.items else None,
        issued=len(issued.items),
        refused=refused.items,
        is_more=issued.next is not None or refused.next is not None,
        authorities=authorities,
    )


def _waiting(sentence: str) -> Concern:
    return Concern(tone="bad", title="Not ready", detail=sentence, href="/ready")


def _of_fleet(fleet: FleetValue, behind: tuple[ConnectionValue, ...]) -> list[Concern]:
    found = []
    refusing = fleet.states.get("ERROR", 0)
    if refusing:
        one = next((each for each in behind if each.state == "ERROR"), None)
        detail = next((kind.last_error for kind in one.types if kind.last_error), "") if one else ""
        name = one.name if one else ""
        found.append(
            Concern(
                tone="bad",
                title=f"{_many(refusing, 'client refuses', 'clients refuse')} what is sent",
                detail=f"{name}: {detail}" if detail else name,
                href="/connections?state=ERROR",
            )
        )
    slow = [
        each
        for each in behind
        if each.state == "STALE" and (each.lag_seconds is None or each.lag_seconds > _PATIENCE)
    ]
    if slow:
        found.append(
            Concern(
                tone="warn",
                title=f"{_many(fleet.states['STALE'], 'client is', 'clients are')} behind",
                detail=", ".join(each.name for each in slow),
                href="/connections?state=STALE",
            )
        )
    if fleet.trouble:
        found.append(
            Concern(
                tone="warn",
                title="Other replicas are not seen",
                detail=fleet.trouble,
                href="/connections",
            )
        )
    return found


def _of_certificates(view: MeshView, issuance: Issuance) -> list[Concern]:
    found = []
    if issuance.refused:
        newest = issuance.refused[0]
        found.append(
            Concern(
                tone="warn",
                title=f"{_many(len(issuance.refused), 'certificate', 'certificates')} refused "
                "in the last hour",
                detail=f"{newest.identity or newest.caller}: {newest.reason}",
                href="/certificates?outcome=refused",
            )
        )
    if issuance.authorities is not None:
        now = view.knowledge.clock.now()
        found += [
            Concern(
                tone="bad" if each.not_after < now else "warn",
                title=f"The active {each.tier} ends soon",
                detail=f"Valid until {each.not_after:%Y-%m-%d %H:%M} UTC.",
                href="/certificates",
            )
            for each in issuance.authorities.authorities
            if each.status == "ACTIVE" and each.not_after - now < _SOON
        ]
    return found


def _of_problems(counts: dict[str, int]) -> list[Concern]:
    found = []
    for severity, tone, singular, plural in (
        ("error", "bad", "thing asked for is not in force", "things asked for are not in force"),
        ("warning", "warn", "warning", "warnings"),
    ):
        if counts.get(severity):
            found.append(
                Concern(
                    tone=tone,
                    title=_many(counts[severity], singular, plural),
                    detail="In the configuration of the mesh.",
                    href=f"/problems?severity={severity}",
                )
            )
    return found


def _many(count: int, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"
