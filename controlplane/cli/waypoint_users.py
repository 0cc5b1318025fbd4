"""Who still names waypoints that were taken away: a cluster and waypoints in, sentences out.

Namespaces and Services are looked at: in the whole cluster, or where that is forbidden in the
namespaces of the waypoints.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterAnswerError, ClusterError, ClusterRefusedError
from controlplane.cluster.refusal import require_success
from controlplane.mesh.wishes import USE_WAYPOINT, waypoint_wish
from controlplane.model.names import Name

_NAMESPACES: Final = "/api/v1/namespaces"
_PAGE: Final = "500"
_MOST: Final = 20
_FORBIDDEN: Final = 403


async def left_behind(client: ClusterClient, waypoints: Collection[Name]) -> list[str]:
    """Return a sentence for each namespace and Service that names one of ``waypoints``, 20 at most.

    What cannot be looked at is a sentence too: never raises for that.
    """
    homes = sorted({each.namespace for each in waypoints})
    try:
        namespaces = await _labelled(
            client, _NAMESPACES, [(_NAMESPACES, f"metadata.name={home}") for home in homes]
        )
        services = await _labelled(
            client, "/api/v1/services", [(f"{_NAMESPACES}/{home}/services", "") for home in homes]
        )
    except ClusterError as error:
        return [f"whether somebody still names what was deleted cannot be seen: {error}"]
    found = [
        *_sentences("namespace", namespaces, waypoints),
        *_sentences("service", services, waypoints),
    ]
    if len(found) > _MOST:
        found[_MOST:] = [f"and {len(found) - _MOST} more name waypoints that were deleted"]
    return found


async def _labelled(
    client: ClusterClient, everywhere: str, at_home: Collection[tuple[str, str]]
) -> list[Mapping[str, Any]]:
    """Return the objects that name a waypoint; raises ClusterError."""
    try:
        return await _listed(client, everywhere, "")
    except ClusterRefusedError as error:
        if error.status != _FORBIDDEN:
            raise
    return [each for path, fields in at_home for each in await _listed(client, path, fields)]


async def _listed(client: ClusterClient, path: str, fields: str) -> list[Mapping[str, Any]]:
    """Return the objects at ``path`` that name a waypoint; raises ClusterError."""
    params = {"limit": _PAGE, "labelSelector": USE_WAYPOINT}
    if fields:
        params["fieldSelector"] = fields
    found: list[Mapping[str, Any]] = []
    while True:
        answer = await client.request("GET", path, params=params)
        require_success(answer)
        try:
            document = json.loads(answer.body)
            found += [each["metadata"] for each in document["items"]]
            following = document["metadata"].get("continue")
        except (ValueError, TypeError, LookupError, AttributeError):
            raise ClusterAnswerError("the answer is no list") from None
        if not following:
            return found
        params["continue"] = following


def _sentences(
    kind: str, found: Collection[Mapping[str, Any]], waypoints: Collection[Name]
) -> Iterator[str]:
    for metadata in sorted(found, key=lambda each: (each.get("namespace") or "", each["name"])):
        name, namespace = metadata["name"], metadata.get("namespace") or ""
        wish = waypoint_wish(metadata.get("labels") or {}, namespace or name)
        if wish is None or wish.key not in waypoints:
            continue
        shown = f"{namespace}/{name}" if namespace else name
        where = f" -n {namespace}" if namespace else ""
        yield (
            f"{kind} {shown} still names waypoint {wish.key}, and has none while there is none:"
            f" kubectl label {kind} {name}{where} {USE_WAYPOINT}-"
        )
