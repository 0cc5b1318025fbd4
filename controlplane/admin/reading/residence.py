"""Where workloads are: by node and by service, kept by the differences of each commit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from controlplane.dataflow import Change, Collection
from controlplane.model.names import ServiceName
from controlplane.model.workload import Workload

B = TypeVar("B")

_SLICE: Final = 256
_NONE: Final[Mapping[str, None]] = {}


class Residence:
    """The uids of workloads on each node and behind each service, in the order they came."""

    def __init__(self, workloads: Collection[str, Workload]) -> None:
        self._by_node: dict[str, dict[str, None]] = {}
        self._by_service: dict[ServiceName, dict[str, None]] = {}
        workloads.subscribe(self._changed)

    def nodes(self) -> Mapping[str, Mapping[str, None]]:
        """Return the workloads of every node that has one."""
        return self._by_node

    def on_node(self, node: str) -> Mapping[str, None]:
        """Return the workloads on ``node``."""
        return self._by_node.get(node, _NONE)

    def behind(self, service: ServiceName) -> Mapping[str, None]:
        """Return the workloads of ``service``."""
        return self._by_service.get(service, _NONE)

    def _changed(self, changes: Sequence[Change[str, Workload]]) -> Iterator[None]:
        for number, (uid, old, new) in enumerate(changes, start=1):
            if old is not None and (new is None or _places(old) != _places(new)):
                _leave(self._by_node, old.node, uid)
                for service, _ in old.services:
                    _leave(self._by_service, service, uid)
            if new is not None:
                if new.node:
                    self._by_node.setdefault(new.node, {})[uid] = None
                for service, _ in new.services:
                    self._by_service.setdefault(service, {})[uid] = None
            if number % _SLICE == 0:
                yield


def _places(workload: Workload) -> tuple[object, ...]:
    return (workload.node, workload.services)


def _leave(places: dict[B, dict[str, None]], place: B, uid: str) -> None:
    uids = places.get(place)
    if uids is not None:
        uids.pop(uid, None)
        if not uids:
            del places[place]
