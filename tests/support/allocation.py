"""ServiceEntries in a cluster in memory, a watch that lags behind, and leaders that allocate."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from controlplane.controllers.address_allocation import AddressAllocation
from controlplane.controllers.queue import Pace
from controlplane.controllers.work_in_rounds import RoundPace, WritingTerms
from controlplane.dataflow import Graph
from controlplane.manifests.core import Service
from controlplane.manifests.decoding import KINDS, decode_object
from controlplane.manifests.istio import ServiceEntry
from controlplane.model.names import Name
from tests.support.cluster_memory import Json
from tests.support.cluster_statuses import PATHS, Lead, StatusMemory, path_of
from tests.support.cluster_time import PassingClock

KIND = "ServiceEntry"
RANGES = ("240.240.0.0/16", "2001:2::/48")


@dataclass
class WatchedMemory(StatusMemory):
    """``pending`` is what the watch has yet to show: paths, and objects or None."""

    pending: deque[tuple[str, Json | None]] = field(default_factory=deque)

    def put(self, path: str, document: Json) -> Json:
        found = super().put(path, document)
        self.pending.append((path, found))
        return found

    def delete(self, path: str) -> None:
        if self.objects.pop(path, None) is not None:
            self.revision += 1
            self.pending.append((path, None))


def an_entry(live: Json) -> ServiceEntry:
    """Return a live object as sources read it."""
    document = {"apiVersion": "networking.istio.io/v1", "kind": KIND, **live}
    found = decode_object(KINDS["networking.istio.io", KIND], json.dumps(document).encode())
    assert isinstance(found, ServiceEntry), found
    return found


class Replica:
    """One replica that leads: a view of its own, and a controller."""

    def __init__(self, cluster: WatchedMemory, clock: PassingClock, **options: Any) -> None:
        self.lead = Lead()
        self.is_ready = True
        self.graph = Graph()
        self.entries = self.graph.input("entries", ServiceEntry, key=lambda value: value.key)
        self.services = self.graph.input("services", Service, key=lambda value: value.key)
        members = self.graph.derive(
            "members",
            self.entries,
            lambda _, value: None if "istio.io/rev" in value.metadata.labels else value,
        )
        terms = WritingTerms(
            client=cluster,
            lead=self.lead,
            paths=options.pop("paths", PATHS).get,
            is_ready=lambda: self.is_ready,
            clock=clock,
            draw=lambda: 0.0,
            # Time passes in every turn here.
            pace=RoundPace(resync=options.pop("resync", 1e9)),
            queue_pace=Pace(tries=2),
        )
        self.controller = AddressAllocation(
            terms,
            entries=self.entries,
            members=members,
            services=self.services,
            ranges=options.pop("ranges", RANGES),
        )

    def show(self, path: str, live: Json | None) -> None:
        with self.graph.transaction():
            if live is None:
                _, namespace, _, name = path.rsplit("/", 3)
                self.entries.remove(Name(namespace, name))
            else:
                self.entries.put(an_entry(live))


@dataclass
class Allocating:
    """``options`` are those of replicas."""

    cluster: WatchedMemory = field(default_factory=WatchedMemory)
    clock: PassingClock = field(default_factory=PassingClock)
    options: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.replica = self.another()

    def another(self) -> Replica:
        """Return a replica that has seen what the watch has shown so far."""
        self.replica = Replica(self.cluster, self.clock, **dict(self.options))
        for path, live in self.shown.items():
            self.replica.show(path, live)
        return self.replica

    @property
    def controller(self) -> AddressAllocation:
        return self.replica.controller

    def make(self, name: str, *hosts: str, created: int = 0, **spec: Any) -> None:
        """Make or edit an entry as its user, who leaves the status as it is."""
        path = path_of(KIND, name)
        stamp = f"2026-01-01T00:00:{created:02}Z"
        metadata = {
            "name": name,
            "namespace": "default",
            "creationTimestamp": stamp,
            **spec.pop("metadata", {}),
        }
        before = self.cluster.objects.get(path, {})
        status = spec.pop("status", before.get("status"))
        document = {
            "metadata": metadata,
            "spec": {"hosts": list(hosts), "resolution": "DNS", **spec},
            **({} if status is None else {"status": status}),
        }
        self.cluster.put(path, document)

    def delete(self, name: str) -> None:
        self.cluster.delete(path_of(KIND, name))

    def show(self, most: int = 1000) -> None:
        """Let the watch show what happened, in order."""
        for _ in range(min(most, len(self.cluster.pending))):
            path, live = self.cluster.pending.popleft()
            if live is None:
                self.shown.pop(path, None)
            else:
                self.shown[path] = live
            self.replica.show(path, live)

    async def rest(self, until: Any, *, is_shown: bool = True) -> None:
        """Wait until nothing is left to do."""
        looks = len(self.clock.slept)

        def is_done() -> bool:
            if is_shown:
                self.show()
            return len(self.clock.slept) > looks + 5 and self.controller.is_idle

        await until(is_done)

    def allocated(self, name: str | None = None) -> dict[str, list[str]]:
        """Return the addresses in statuses by host, of one entry or of all."""
        found: dict[str, list[str]] = {}
        for path, live in sorted(self.cluster.objects.items()):
            if name is None or path == path_of(KIND, name):
                for each in live.get("status", {}).get("addresses", []):
                    found.setdefault(each["host"], []).append(each["value"])
        return found

    def held(self, *names: str) -> list[list[str]]:
        """Return the addresses in the statuses of entries, of each all."""
        return [sum(self.allocated(name).values(), []) for name in names]  # noqa: RUF017 - few
