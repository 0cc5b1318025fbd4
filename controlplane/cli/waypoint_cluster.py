"""What commands about waypoints ask of the API server: names in, Gateways as JSON out.

Writes go under the field manager of istioctl: both commands act for the person who calls them, so
either changes and takes back what the other one ordered.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.cli.errors import CommandError
from controlplane.cli.waypoint_gateway import (
    ShownWaypoint,
    is_waypoint_document,
    shown,
)
from controlplane.clock import Clock
from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.refusal import refusal_in
from controlplane.mesh.wishes import USE_WAYPOINT, USE_WAYPOINT_NAMESPACE

_MANAGER: Final = "istioctl"
_API: Final = "/apis/gateway.networking.k8s.io/v1"
_NOT_INSTALLED: Final = (
    "the cluster has no Gateways: install the definitions of the Gateway API"
    " (gateway.networking.k8s.io/v1)"
)
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_PAGE: Final = "500"
_PAUSE: Final = 1.0
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


async def all_waypoints(client: ClusterClient, namespace: str | None) -> tuple[ShownWaypoint, ...]:
    """Return the waypoints of a namespace, of all for None.

    Raises:
        CommandError: the cluster has no Gateways, or does not let us see them.
    """
    path = f"{_API}/gateways" if namespace is None else _gateways(namespace)
    found: list[Mapping[str, Any]] = []
    params = {"limit": _PAGE}
    while True:
        answer = await client.request("GET", path, params=params)
        if answer.status == _NOT_FOUND:
            raise CommandError(_NOT_INSTALLED)
        document = _success(answer, "list gateways")
        found.extend(document.get("items") or ())
        following = (document.get("metadata") or {}).get("continue")
        if not following:
            return shown(found)
        params = {"limit": _PAGE, "continue": following}


async def find_gateway(
    client: ClusterClient, namespace: str, name: str
) -> Mapping[str, Any] | None:
    """Return a Gateway; None where there is none of the name.

    Raises:
        CommandError: we may not see it, or it is of another class than waypoints are.
    """
    answer = await client.request("GET", f"{_gateways(namespace)}/{name}")
    if answer.status == _NOT_FOUND:
        return None
    document = _success(answer, f"read gateway {namespace}/{name}")
    if not is_waypoint_document(document):
        kind = (document.get("spec") or {}).get("gatewayClassName")
        raise CommandError(f"gateway {namespace}/{name} is of class {kind}, not a waypoint")
    return document


async def find_namespace(client: ClusterClient, name: str) -> Mapping[str, Any] | None:
    """Return a namespace; None where we may not look at it.

    Raises:
        CommandError: there is none of the name.
    """
    answer = await client.request("GET", f"/api/v1/namespaces/{name}")
    if answer.status == _FORBIDDEN:
        return None
    if answer.status == _NOT_FOUND:
        raise CommandError(f"there is no namespace {name}")
    return _success(answer, f"read namespace {name}")


async def apply_gateway(client: ClusterClient, manifest: Mapping[str, Any]) -> None:
    """Make a Gateway the way it is given.

    Raises:
        CommandError: the API server refuses, or somebody else keeps a field.
    """
    metadata = manifest["metadata"]
    answer = await client.request(
        "PATCH",
        f"{_gateways(metadata['namespace'])}/{metadata['name']}",
        params={"fieldManager": _MANAGER, "force": "false"},
        body=json.dumps(manifest).encode(),
        content_type=_APPLY,
    )
    if answer.status == _NOT_FOUND:
        raise CommandError(_NOT_INSTALLED)
    _success(answer, f"apply waypoint {metadata['namespace']}/{metadata['name']}")


async def delete_gateway(client: ClusterClient, namespace: str, name: str) -> bool:
    """Delete a waypoint; return whether there was one.

    Raises:
        CommandError: we may not, or the Gateway is no waypoint.
    """
    found = await find_gateway(client, namespace, name)
    if found is None:
        return False
    # Exactly what was looked at: not one of another class that was made meanwhile.
    options = {"preconditions": {"uid": found["metadata"]["uid"]}}
    answer = await client.request(
        "DELETE", f"{_gateways(namespace)}/{name}", body=json.dumps(options).encode()
    )
    if answer.status == _NOT_FOUND:
        return False
    _success(answer, f"delete waypoint {namespace}/{name}")
    return True


def other_waypoint(namespace: Mapping[str, Any], name: str) -> str:
    """Return the waypoint that a namespace uses, "" if it uses none or the one of this name."""
    metadata = namespace["metadata"]
    labels = metadata.get("labels") or {}
    used = str(labels.get(USE_WAYPOINT) or "")
    home = str(labels.get(USE_WAYPOINT_NAMESPACE) or metadata["name"])
    if not used or (used, home) == (name, metadata["name"]):
        return ""
    return used if home == metadata["name"] else f"{home}/{used}"


async def enroll_namespace(
    client: ClusterClient, namespace: Mapping[str, Any], waypoint: str
) -> None:
    """Make a namespace, which was read just before, use a waypoint of its own.

    Raises:
        CommandError: we may not, or somebody else has changed the namespace meanwhile.
    """
    metadata = namespace["metadata"]
    labels = {USE_WAYPOINT: waypoint, USE_WAYPOINT_NAMESPACE: None}
    change = {"metadata": {"labels": labels, "resourceVersion": metadata["resourceVersion"]}}
    answer = await client.request(
        "PATCH",
        f"/api/v1/namespaces/{metadata['name']}",
        params={"fieldManager": _MANAGER},
        body=json.dumps(change).encode(),
        content_type=_MERGE,
    )
    _success(answer, f"label namespace {metadata['name']}")


async def wait_programmed(
    client: ClusterClient,
    namespace: str | None,
    names: Sequence[str],
    *,
    clock: Clock,
    limit: float,
) -> tuple[ShownWaypoint, ...]:
    """Return the waypoints of these names, of any for none, once all work or time is up.

    ``limit`` is in seconds; 0 looks once.

    Raises:
        CommandError: one of the names is no waypoint, or they cannot be seen.
    """
    end = clock.monotonic() + limit
    while True:
        found = await all_waypoints(client, namespace)
        missing = set(names) - {each.name for each in found}
        if missing:
            raise CommandError(f"there is no waypoint {', '.join(sorted(missing))}")
        wanted = tuple(each for each in found if not names or each.name in names)
        left = end - clock.monotonic()
        if left <= 0 or all(each.is_programmed for each in wanted):
            return wanted
        await clock.sleep(min(_PAUSE, left))


def _gateways(namespace: str) -> str:
    return f"{_API}/namespaces/{namespace}/gateways"


def _success(answer: Answer, what: str) -> dict[str, Any]:
    refusal = refusal_in(answer)
    if refusal is not None:
        raise CommandError(f"cannot {what}: {refusal.message or refusal}")
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError(f"cannot {what}: the API server answered something else")
    return document
