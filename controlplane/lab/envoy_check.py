"""Whether an Envoy would take a waypoint's configuration, and which object it would not take.

An Envoy names a fault, not the resource it is in: parts are left out until it is found.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
)
from controlplane.encode.static_bootstrap import Discovered, static_bootstrap
from controlplane.encode.waypoint_names import BLACKHOLE, MAIN_INTERNAL, MAIN_SNIFFED
from controlplane.lab.placeholder_secrets import some_secrets

Validate = Callable[[Mapping[str, Any]], Awaitable[str | None]]
"""Says why an Envoy refuses a bootstrap, None when it does not."""

_MOST_FAULTS: Final = 10
_INNER: Final = (MAIN_INTERNAL, MAIN_SNIFFED)
"""Listeners with the chains of services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What an Envoy says about the chain, cluster, routes and endpoints of one name.

    ``name`` is "" where the fault is in what every waypoint has.
    """

    name: str
    said: str


async def find_faults(resources: Mapping[str, Any], validate: Validate) -> tuple[Fault, ...]:
    """Return what an Envoy has against static resources of a waypoint; empty when nothing.

    At most ten faults are looked for.
    """
    said = await validate(static_bootstrap(resources))
    if said is None:
        return ()
    names = sorted(_names(resources))
    if await validate(static_bootstrap(_only(resources, ()))) is not None:
        return (Fault(name="", said=said),)
    faults: list[Fault] = []
    waiting = [names]
    while waiting and len(faults) < _MOST_FAULTS:
        part = waiting.pop()
        found = await validate(static_bootstrap(_only(resources, part)))
        if found is None:
            continue
        if len(part) == 1:
            faults.append(Fault(name=part[0], said=found))
            continue
        middle = len(part) // 2
        waiting += [part[middle:], part[:middle]]
    # Parts that are good by themselves may clash with each other.
    return tuple(faults) or (Fault(name="", said=said),)


def discovered_in(document: Mapping[str, Any]) -> Discovered:
    """Return what a document of ``insight.waypoint_snapshot`` holds, with secrets of the moment."""
    by_type: dict[str, list[Any]] = {}
    for each in document["resources"]:
        by_type.setdefault(each["resource"]["@type"], []).append(each["resource"])
    return Discovered(
        listeners=by_type.get(LISTENER_TYPE, ()),
        routes=by_type.get(ROUTE_TYPE, ()),
        clusters=by_type.get(CLUSTER_TYPE, ()),
        endpoints=by_type.get(ENDPOINT_TYPE, ()),
        secrets=some_secrets(),
    )


def _names(resources: Mapping[str, Any]) -> set[str]:
    """Return the names of what a waypoint has of services."""
    clusters = {each["name"] for each in resources["clusters"] if "|" in each["name"]}
    return clusters | {each["name"] for each in _chains(resources) if "|" in each["name"]}


def _chains(resources: Mapping[str, Any]) -> list[Any]:
    return [
        chain
        for listener in resources["listeners"]
        if listener["name"] in _INNER
        for chain in listener.get("filter_chains", [])
    ]


def _only(resources: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the resources with only these of services, and what every waypoint has."""
    kept = set(names)

    def stays(each: Mapping[str, Any]) -> bool:
        return "|" not in each["name"] or each["name"] in kept

    listeners = []
    for listener in resources["listeners"]:
        if listener["name"] not in _INNER:
            listeners.append(listener)
            continue
        chains = [_without_lookups(each) for each in listener["filter_chains"] if stays(each)]
        listeners.append({**listener, "filter_chains": chains or [{"name": BLACKHOLE}]})
    clusters = [each for each in resources["clusters"] if stays(each)]
    return {"listeners": listeners, "clusters": clusters}


def _without_lookups(part: Any) -> Any:
    """Return a chain whose routes may lead to clusters that were left out."""
    match part:
        case dict():
            walked = {key: _without_lookups(each) for key, each in part.items()}
            if "virtual_hosts" in walked:
                walked["validate_clusters"] = False
            return walked
        case list():
            return [_without_lookups(each) for each in part]
        case _:
            return part
