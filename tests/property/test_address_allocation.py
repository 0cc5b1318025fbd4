"""Whatever is created, edited and deleted, and whoever leads: addresses are unique and stay.

A watch that lags, answers that are lost and leaders that come and go are part of every history.
Every change of a status in the cluster is judged, not only the last one.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.cluster.client import Answer
from controlplane.mesh.service_entries import wants_allocation
from tests.support.allocation import Allocating, WatchedMemory, an_entry
from tests.support.cluster_memory import Json
from tests.support.cluster_time import settled

RANGES = ("240.240.1.0/28", "2001:2::/124")
"""As small as can be: twelve hosts for fourteen addresses, so that names lead to taken ones."""
NAMES = ("a", "b", "c", "d")
HOSTS = ("one.example", "two.example", "*.wild.example")

entries = st.fixed_dictionaries(
    {
        "hosts": st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3),
        "created": st.integers(0, 3),
        "resolution": st.sampled_from(["DNS", "DNS", "DYNAMIC_DNS", "NONE"]),
        "addresses": st.sampled_from([[], [], [], ["10.0.0.1"]]),
        "metadata": st.sampled_from(
            [{}, {}, {"labels": {"networking.istio.io/enable-autoallocate-ip": "false"}}]
        ),
    }
)
actions = st.one_of(
    st.tuples(st.just("make"), st.sampled_from(NAMES), entries),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("show"), st.integers(1, 3), st.none()),
    st.tuples(st.just("turns"), st.integers(1, 40), st.none()),
    st.tuples(st.just("lose"), st.just("PATCH"), st.none()),
)


@dataclass
class Judged(WatchedMemory):
    """Judges every change of a status: no address twice, none that is taken from an entitled host.

    An answer takes its time, and so does a question.
    """

    found: list[str] = field(default_factory=list)

    async def request(self, method: str, path: str, **rest: Any) -> Answer:
        await asyncio.sleep(0)
        try:
            return await super().request(method, path, **rest)
        finally:
            await asyncio.sleep(0)

    def put(self, path: str, document: Json) -> Json:
        before = entitled(self.objects[path]) if path in self.objects else {}
        after = super().put(path, document)
        for host, values in entitled(after).items():
            if not set(before.get(host, ())) <= set(values):
                self.found.append(f"{path} {host}: from {before} to {values}")
        everybodys = Counter(
            each["value"]
            for live in self.objects.values()
            for each in live.get("status", {}).get("addresses", ())
        )
        self.found += [f"{each} is given {n} times" for each, n in everybodys.items() if n > 1]
        return after


def entitled(live: Json) -> dict[str, list[str]]:
    """Return the addresses of every host of an object that is entitled to some."""
    entry = an_entry(live)
    return {
        host: [each.value for each in entry.status_addresses if each.host == host]
        for host in entry.hosts
        if wants_allocation(entry, host)
    }


async def _act(allocating: Allocating, action: str, what: Any, how: Any) -> None:
    match action:
        case "make":
            allocating.make(what, *how["hosts"], **{k: how[k] for k in how if k != "hosts"})
        case "delete":
            allocating.delete(what)
        case "show":
            allocating.show(what)
        case "lose":
            allocating.cluster.lost_after.add(what)
        case _:
            for _ in range(what):
                await asyncio.sleep(0)


async def _play(reigns: list[list[tuple[str, Any, Any]]]) -> None:
    cluster = Judged()
    allocating = Allocating(cluster=cluster, options={"ranges": RANGES})
    for history in reigns:
        allocating.another()
        async with settled(allocating.controller.run()):
            for action in history:
                await _act(allocating, *action)
    async with settled(allocating.another().controller.run()) as until:
        await allocating.rest(until)
    assert cluster.found == []
    wanted = {}
    for path, live in cluster.objects.items():
        wanted.update({(path, host): values for host, values in entitled(live).items()})
    for place, values in wanted.items():
        assert [":" in each for each in values] == [False, True], (place, values)
    assert sum(map(len, wanted.values())) == sum(map(len, allocating.allocated().values()))
    # Whoever leads next has nothing to do.
    writes = len(cluster.writes)
    async with settled(allocating.another().controller.run()) as until:
        await allocating.rest(until)
    assert len(cluster.writes) == writes


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(actions, max_size=25), min_size=1, max_size=3))
def test_addresses_are_unique_and_stay(reigns: list[list[tuple[str, Any, Any]]]) -> None:
    asyncio.run(_play(reigns))
