"""Everything one waypoint is sent, as a document: what is served comes in, JSON goes out.

Decoded from the bytes that are served, so that what is shown is what a waypoint gets. Secrets are
made for each stream and stand here as placeholders.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from controlplane.encode.document import envoy_json
from controlplane.encode.envelope import SECRET_TYPE
from controlplane.encode.resource import Resource
from controlplane.encode.waypoint_names import IDENTITY_SECRET, ROOTS_SECRET
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.world import World
from controlplane.model.names import Name, ObjectReference
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ENDPOINT_TYPE,
    WAYPOINT_TYPES,
    waypoint_endpoints,
    waypoint_resources,
)

PLACEHOLDER: Final = "[made for each stream, and not kept]"


class Served(NamedTuple):
    """A resource of a waypoint and the object that it is made of.

    ``place`` is the node whose pods alone are sent it, "" where all are.
    """

    resource: Resource
    object: ObjectReference
    place: str = ""


def served_to_waypoint(world: World, catalog: Catalog, waypoint: Name) -> tuple[Served, ...] | None:
    """Return what a waypoint is sent, in the order in which it needs it, then by name and place.

    None where no Gateway of that name is a waypoint. Secrets are not among it.
    """
    if world.traffic.frames.get(waypoint) is None:
        return None
    return tuple(
        Served(resource, object_behind(world, waypoint, resource.name), place)
        for type_url in WAYPOINT_TYPES
        for place, resource in sorted(
            _placed(world, catalog, waypoint, type_url), key=lambda each: (each[1].name, each[0])
        )
    )


def waypoint_document(waypoint: Name, served: Sequence[Served]) -> dict[str, Any]:
    """Return a document of everything a waypoint is sent; fields have the names Envoy shows."""
    return {"waypoint": str(waypoint), "resources": [*_entries(served), *_placeholders(waypoint)]}


def _entries(served: Sequence[Served]) -> Iterator[dict[str, Any]]:
    for resource, owner, place in served:
        yield {
            "name": resource.name,
            **({"place": place} if place else {}),
            "version": resource.version,
            "object": str(owner),
            "resource": envoy_json(resource),
        }


def _placeholders(waypoint: Name) -> Iterator[dict[str, Any]]:
    text = {"inline_string": PLACEHOLDER}
    contents = {
        IDENTITY_SECRET: {"tls_certificate": {"certificate_chain": text, "private_key": text}},
        ROOTS_SECRET: {"validation_context": {"trusted_ca": text}},
    }
    for name, content in contents.items():
        yield {
            "name": name,
            "version": "",
            "object": str(ObjectReference("Gateway", *waypoint)),
            "resource": {"@type": SECRET_TYPE, "name": name, **content},
        }


def _placed(
    world: World, catalog: Catalog, waypoint: Name, type_url: str
) -> Iterator[tuple[str, Resource]]:
    """Yield the resources of one type, each with the place it is for."""
    for resource in catalog.table(waypoint_resources(waypoint, type_url)).resources():
        yield "", resource
    if type_url != ENDPOINT_TYPE:
        return
    nodes = [node for (owner, node), _ in world.traffic.places.items() if owner == waypoint]
    # What is sent where nobody knows the node is of interest as long as nothing else is sent.
    for node in [node for node in nodes if node] or nodes:
        for resource in catalog.table(waypoint_endpoints(waypoint, node)).resources():
            yield node, resource


def waypoint_of(world: World, pod: Name) -> Name | None:
    """Return the waypoint that a pod is of, None for every other pod."""
    resident = world.residents.get(pod)
    if resident is None or not resident.gateway:
        return None
    return Name(resident.namespace, resident.gateway)


def object_behind(world: World, waypoint: Name, name: str) -> ObjectReference:
    """Return the object of the hostname that a resource's name ends in, else the waypoint's."""
    service = world.traffic.services.get(WaypointHost(waypoint, name.rpartition("|")[2]))
    return ObjectReference("Gateway", *waypoint) if service is None else service.owner
