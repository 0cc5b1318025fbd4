"""The committed view of residents."""

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.names import Name
from controlplane.model.resident import NodeAccount, Resident
from controlplane.snapshots.residents import Residents
from tests.support.authentication import a_resident
from tests.support.dataflow_time import VirtualClock, let_run

POD = a_resident("cart-1", "shop", "cart")
PLACE = NodeAccount("node-a", "shop", "cart")


def test_nothing_staged_is_visible_before_it_is_published() -> None:
    residents = Residents(VirtualClock())
    residents.stage([(POD.key, POD)])
    assert (residents.pod(POD.key), residents.at(PLACE), residents.is_loaded) == (None, (), False)
    residents.publish(loaded=False)
    assert (residents.pod(POD.key), residents.at(PLACE)) == (POD, (POD,))
    assert not residents.is_loaded
    residents.publish()
    residents.publish(loaded=False)
    assert residents.is_loaded


def test_uids_that_go_are_told_once_they_are_gone() -> None:
    residents = Residents(VirtualClock())
    gone: list[tuple[str, int]] = []
    residents.on_gone(lambda uid: gone.append((uid, len(residents))))
    for change in (POD, replace(POD, phase="Failed"), replace(POD, uid="new"), None):
        residents.stage([(POD.key, change)])
        residents.publish()
    assert gone == [(POD.uid, 1), ("new", 0)]


async def test_waiting_ends_with_the_first_commit_that_changes_the_key() -> None:
    clock = VirtualClock()
    residents = Residents(clock)
    by_name = asyncio.create_task(residents.wait_for(POD.key, 2))
    by_place = asyncio.create_task(residents.wait_for(PLACE, 2))
    elsewhere = asyncio.create_task(residents.wait_for(PLACE._replace(node="node-b"), 2))
    await let_run()
    residents.stage([(Name("shop", "other"), a_resident("other", "shop", "other"))])
    residents.publish()
    await let_run()
    assert not by_name.done()
    residents.stage([(POD.key, POD)])
    residents.publish()
    await let_run()
    assert (by_name.result(), by_place.result()) == (True, True)
    await clock.advance(2)
    assert elsewhere.result() is False
    assert not residents._waiting


async def test_a_pod_that_moves_wakes_both_places() -> None:
    residents = Residents(VirtualClock())
    residents.stage([(POD.key, POD)])
    residents.publish()
    places = (PLACE, PLACE._replace(node="node-b"))
    waiting = [asyncio.create_task(residents.wait_for(place, 2)) for place in places]
    await let_run()
    residents.stage([(POD.key, replace(POD, node="node-b"))])
    residents.publish()
    assert await asyncio.gather(*waiting) == [True, True]
    assert [len(residents.at(place)) for place in places] == [0, 1]


CHANGES = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([Name("shop", "a"), Name("shop", "b"), Name("bank", "a")]),
            st.none()
            | st.tuples(st.sampled_from("xy"), st.sampled_from("mn"), st.sampled_from("12")),
        ),
        max_size=4,
    ),
    max_size=8,
)


def test_pods_of_a_gateway_are_counted_until_they_end() -> None:
    residents = Residents(VirtualClock())
    gateway = Name("shop", "waypoint")
    pod = replace(POD, gateway="waypoint")
    counts = []
    for change in (pod, replace(pod, node="other"), replace(pod, phase="Failed"), pod, None):
        residents.stage([(pod.key, change)])
        residents.publish()
        counts.append(residents.pods_of(gateway))
    assert counts == [1, 1, 0, 1, 0]
    assert residents.pods_of(Name("shop", "")) == 0


@given(CHANGES)
def test_any_history_ends_where_its_last_changes_do(
    commits: list[list[tuple[Name, tuple[str, str, str] | None]]],
) -> None:
    residents = Residents(VirtualClock())
    expected: dict[Name, Resident] = {}
    gone: list[str] = []
    residents.on_gone(gone.append)
    for commit in commits:
        for name, change in commit:
            if change is None:
                residents.stage([(name, None)])
                expected.pop(name, None)
            else:
                node, account, uid = change
                pod = a_resident(name.name, name.namespace, account, node=node, uid=uid)
                residents.stage([(name, pod)])
                expected[name] = pod
        residents.publish()
    assert {name: residents.pod(name) for name in expected} == expected
    assert len(residents) == len(expected)
    for place in {each.place for each in expected.values()}:
        there = {each.key for each in expected.values() if each.place == place}
        assert {each.key for each in residents.at(place)} == there
    residents.stage([(name, None) for name in expected])
    residents.publish()
    assert not residents._pods
    assert not residents._places
