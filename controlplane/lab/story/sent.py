"""What the control plane sent during a step: responses come in, one line for each kind goes out."""

from collections.abc import Iterable
from functools import partial
from typing import Final

from controlplane.lab.node.proxy import Node
from controlplane.lab.ztunnel.session import Applied
from controlplane.model.connection import Connection

_MOST_NAMES: Final = 4
_WORDS: Final = {"Address": "addresses of", "Authorization": "policies"}
_WAYPOINT_WORDS: Final = {
    "Cluster": "clusters",
    "ClusterLoadAssignment": "endpoints",
    "Listener": "listeners",
    "RouteConfiguration": "routes",
    "Secret": "certificates",
}


class Sent:
    """Notes of what node proxies apply; ``begin`` starts a new page."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], dict[str, None]] = {}
        self._before: dict[tuple[str, str], int] = {}

    def listen_to(self, node: Node) -> None:
        """Note what this node is sent from now on."""
        node.hears(partial(self._note, node.name))

    def begin(self, connections: Iterable[Connection]) -> None:
        """Forget what was noted; ``connections`` are those there are now."""
        self._notes.clear()
        self._before = _accepted(connections)

    def lines(self, connections: Iterable[Connection]) -> list[str]:
        """Return what was sent since ``begin``: who got it, and what."""
        receivers: dict[str, list[str]] = {}
        for (node, kind), names in sorted(self._notes.items()):
            receivers.setdefault(_shown(kind, list(names)), []).append(node)
        found = [f"{' and '.join(nodes)}: {what}" for what, nodes in receivers.items()]
        kinds: dict[str, dict[str, None]] = {}
        for (pod, kind), commit in sorted(_accepted(connections).items()):
            if self._before.get((pod, kind), -1) != commit:
                kinds.setdefault(pod, {})[_WAYPOINT_WORDS.get(kind, kind)] = None
        found += [
            f"{short(pod)}, an Envoy, accepted {', '.join(words)}" for pod, words in kinds.items()
        ]
        return found

    def _note(self, node: str, applied: Applied) -> None:
        response = applied.response
        names = [short(update.name) for update in response.updates]
        names += [f"{short(name)} removed" for name in response.removed]
        if names:
            kind = response.type_url.rpartition(".")[2]
            self._notes.setdefault((node, kind), {}).update(dict.fromkeys(names))


def short(name: str) -> str:
    """Return what people call a resource: no cluster, no generated ending, no domain.

    The pod ``Kubernetes//Pod/shop/web-v1-f99lm9f9mb-2mfrn`` is ``web-v1``, the service
    ``shop/web.shop.svc.cluster.local`` is ``web``; the name of a policy stays as it is.
    """
    last = name.rpartition("/")[2]
    if last.endswith(".svc.cluster.local"):
        return last.partition(".")[0]
    if "//Pod/" in name or "/" not in name:
        parts = last.split("-")
        return "-".join(parts[:-2]) if len(parts) > 2 else last
    return name


def _shown(kind: str, names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    told = ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"{_WORDS.get(kind, kind)} {told}"


def _accepted(connections: Iterable[Connection]) -> dict[tuple[str, str], int]:
    """Return the newest commit of each kind that waypoints accepted."""
    return {
        (connection.pod, kind.type_url.rpartition(".")[2]): kind.commit_acknowledged
        for connection in connections
        if connection.kind == "waypoint"
        for kind in connection.types
        if kind.commit_acknowledged >= 0
    }
