import asyncio
import ipaddress
import json
from typing import Any

import pytest

from controlplane.cluster.apply import Outcome
from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.mesh.expansion_addresses import range_from_text
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from tests.support.allocation import KIND, RANGES, Allocating
from tests.support.builders import a_service
from tests.support.cluster_memory import a_refusal
from tests.support.cluster_statuses import PATHS, path_of
from tests.support.cluster_time import settled

SMALL = ("240.240.1.0/30", "2001:2::/48")
"""Two IPv4 addresses: .1 and .2."""


def first_choice(name: str, host: str) -> list[str]:
    return [
        text_from_address(range_from_text(text).address(f"default/{name}/{host}"))
        for text in RANGES
    ]


async def run(allocating: Allocating) -> None:
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)


def status(*given: tuple[str, str]) -> dict[str, Any]:
    return {"addresses": [{"value": value, "host": host} for value, host in given]}


@pytest.mark.proves("AL-1", "AL-3")
async def test_each_host_gets_one_address_of_each_range() -> None:
    allocating = Allocating()
    allocating.make("entry", "a.example", "b.example")
    allocating.make("wild", "*.example", resolution="DYNAMIC_DNS")
    await run(allocating)
    # The same addresses as without a cluster, where nothing is in the way.
    assert allocating.allocated() == {
        "a.example": first_choice("entry", "a.example"),
        "b.example": first_choice("entry", "b.example"),
        "*.example": first_choice("wild", "*.example"),
    }
    assert allocating.controller.name == "address-allocation"
    assert not allocating.controller.troubles


@pytest.mark.refutes("AL-1")
async def test_hosts_that_are_entitled_to_nothing_get_nothing() -> None:
    allocating = Allocating()
    allocating.make("given", "a.example", addresses=["10.0.0.1"])
    allocating.make("none", "b.example", resolution="NONE")
    allocating.make("wild", "*.example")
    labels = {"networking.istio.io/enable-autoallocate-ip": "FALSE"}
    allocating.make("out", "c.example", metadata={"labels": labels})
    await run(allocating)
    assert allocating.allocated() == {}
    assert not allocating.cluster.writes


@pytest.mark.proves("AL-2")
@pytest.mark.refutes("AL-3")
async def test_what_anybody_has_is_not_handed_out() -> None:
    ipv4, ipv6 = first_choice("entry", "a.example")
    following = str(ipaddress.ip_address(ipv6) + 1)
    foreign = {"labels": {"istio.io/rev": "other"}}
    block = (
        f"{ipaddress.ip_address(ipv6) + 2}/127" if int(ipaddress.ip_address(ipv6)) % 2 == 0 else ""
    )
    allocating = Allocating()
    allocating.make("entry", "a.example", created=9)
    allocating.make("stated", "b.example", addresses=[ipv6, *([block] if block else [])])
    allocating.make("held", "c.example", metadata=foreign, status=status((following, "c.example")))
    with allocating.replica.graph.transaction():
        allocating.replica.services.put(a_service(ips=(ipv4, "None")))
    await run(allocating)
    found = allocating.allocated("entry")["a.example"]
    expected = ipaddress.ip_address(ipv6) + (4 if block else 2)
    assert found == [str(ipaddress.ip_address(ipv4) + 1), str(expected)]


@pytest.mark.refutes("AL-2")
async def test_an_address_that_nobody_has_any_more_is_handed_out_again() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",)})
    allocating.make("first", "a.example")
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        assert allocating.allocated() == {"a.example": ["240.240.1.4"]}
        allocating.delete("first")
        allocating.make("second", "b.example")
        await allocating.rest(until)
    assert allocating.allocated() == {"b.example": ["240.240.1.4"]}


@pytest.mark.proves("AL-3")
async def test_older_entries_choose_first() -> None:
    for order in (("old", "new"), ("new", "old")):
        allocating = Allocating(options={"ranges": ("240.240.1.4/32",)})
        for name in order:
            allocating.make(name, "a.example", created=1 if name == "old" else 2)
        await run(allocating)
        assert allocating.allocated("old") == {"a.example": ["240.240.1.4"]}
        assert allocating.allocated("new") == {}


@pytest.mark.proves("AL-5")
@pytest.mark.refutes("AL-5", "AL-10")
async def test_a_next_leader_finds_everything_right() -> None:
    allocating = Allocating()
    allocating.make("entry", "a.example", "b.example")
    # Allocated by somebody else, from elsewhere, in another order.
    theirs = status(
        ("fd00::9", "d.example"), ("10.9.9.9", "c.example"), ("fd00::8", "c.example"),
        ("10.9.9.8", "d.example"),
    )  # fmt: skip
    allocating.make("theirs", "c.example", "d.example", status=theirs)
    await run(allocating)
    writes = len(allocating.cluster.writes)
    assert writes == 1
    before, asked = allocating.allocated(), len(allocating.cluster.asked)
    allocating.another()
    await run(allocating)
    assert len(allocating.cluster.writes) == writes
    assert allocating.allocated() == before
    assert [each.path for each in allocating.cluster.asked[asked:]] == [PATHS[KIND]]


@pytest.mark.proves("AL-6")
@pytest.mark.refutes("AL-6")
async def test_of_two_with_one_address_the_older_keeps_it() -> None:
    allocating = Allocating()
    both = status(("240.240.0.9", "a.example"), ("2001:2::9", "a.example"))
    allocating.make("young", "a.example", created=5, status=both)
    allocating.make("old", "a.example", created=2, status=both)
    allocating.make("other", "a.example", created=2, status=both)
    await run(allocating)
    assert allocating.allocated("old") == {"a.example": ["240.240.0.9", "2001:2::9"]}
    assert allocating.allocated("young") == {"a.example": first_choice("young", "a.example")}
    assert allocating.allocated("other") == {"a.example": first_choice("other", "a.example")}
    assert not [each for each in allocating.cluster.writes if "/old/" in each.path]


@pytest.mark.proves("AL-6")
@pytest.mark.parametrize("given", ["{ipv4}", "{ipv4}/32", "{ipv4}/24"])
async def test_what_a_user_states_is_the_users(given: str) -> None:
    allocating = Allocating()
    allocating.make("entry", "a.example", created=1)
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        ipv4, ipv6 = allocating.allocated()["a.example"]
        allocating.make("user", "b.example", created=9, addresses=[given.format(ipv4=ipv4)])
        await allocating.rest(until)
        moved = allocating.allocated()["a.example"]
        assert moved[1] == ipv6
        block = ipaddress.ip_network(given.format(ipv4=ipv4), strict=False)
        assert ipaddress.ip_address(moved[0]) not in block
        with allocating.replica.graph.transaction():
            allocating.replica.services.put(a_service(ips=(ipv6,)))
        await allocating.rest(until)
    assert allocating.allocated()["a.example"][0] == moved[0]
    assert allocating.allocated()["a.example"][1] != ipv6


@pytest.mark.proves("AL-6")
async def test_within_one_entry_the_first_host_keeps_an_address() -> None:
    allocating = Allocating()
    same = status(
        ("240.240.0.9", "b.example"), ("240.240.0.9", "a.example"), ("2001:2::9", "a.example")
    )
    allocating.make("entry", "a.example", "b.example", status=same)
    await run(allocating)
    assert allocating.allocated() == {
        "a.example": ["240.240.0.9", "2001:2::9"],
        "b.example": first_choice("entry", "b.example"),
    }


@pytest.mark.proves("AL-7")
@pytest.mark.refutes("AL-7")
async def test_what_is_too_much_or_stale_is_removed() -> None:
    allocating = Allocating()
    held = status(
        ("nonsense", "a.example"), ("240.240.0.9", "a.example"), ("240.240.0.7", "a.example"),
        ("2001:2::9", "a.example"), ("240.240.0.8", "gone.example"), ("240.240.0.6", ""),
    )  # fmt: skip
    allocating.make("entry", "a.example", status=held | {"conditions": []})
    allocating.make("stale", "b.example", addresses=["10.0.0.1"], status=held)
    await run(allocating)
    assert allocating.allocated("entry") == {"a.example": ["240.240.0.9", "2001:2::9"]}
    assert allocating.cluster.live(KIND, "entry")["status"]["conditions"] == []
    assert allocating.cluster.live(KIND, "stale")["status"] == {}


@pytest.mark.proves("AL-7")
async def test_hosts_come_and_go() -> None:
    allocating = Allocating()
    allocating.make("entry", "a.example", "b.example")
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        kept = allocating.allocated()["b.example"]
        allocating.make("entry", "b.example", "c.example")
        await allocating.rest(until)
        assert allocating.allocated() == {
            "b.example": kept,
            "c.example": first_choice("entry", "c.example"),
        }
        allocating.make("entry", "b.example", resolution="NONE")
        await allocating.rest(until)
        assert allocating.allocated() == {}


@pytest.mark.proves("AL-8")
@pytest.mark.refutes("AL-8")
@pytest.mark.parametrize(
    "metadata", [{"labels": {"istio.io/rev": "b"}}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}]
)
async def test_entries_that_are_not_ours_are_left_alone(metadata: dict[str, Any]) -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",)})
    stale = status(("240.240.1.4", "gone.example"))
    allocating.make("theirs", "a.example", metadata=metadata, status=stale)
    allocating.make("ours", "b.example")
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        assert allocating.allocated() == {"gone.example": ["240.240.1.4"]}
        assert not allocating.cluster.writes
        allocating.make("theirs", "a.example", created=50)
        await allocating.rest(until)
    assert allocating.allocated() == {"b.example": ["240.240.1.4"]}


@pytest.mark.proves("AL-9")
async def test_a_write_tests_what_was_there() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",)})
    allocating.make("bare", "a.example")
    allocating.make(
        "held", "b.example", addresses=["10.0.0.1"], status={"addresses": [{"value": "x"}]}
    )
    wanted = [{"value": "240.240.1.4", "host": "a.example"}]
    version = allocating.cluster.live(KIND, "bare")["metadata"]["resourceVersion"]
    held_version = allocating.cluster.live(KIND, "held")["metadata"]["resourceVersion"]
    await run(allocating)
    sent = {each.path: each for each in allocating.cluster.writes}
    bare = sent[f"{path_of(KIND, 'bare')}/status"]
    assert bare.params == {"fieldManager": "istiod-lite-address-allocation"}
    assert json.loads(bare.body or b"") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/status", "value": {"addresses": wanted}},
    ]
    held = sent[f"{path_of(KIND, 'held')}/status"]
    version = held_version
    assert json.loads(held.body or b"") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "test", "path": "/status/addresses", "value": [{"value": "x"}]},
        {"op": "remove", "path": "/status/addresses"},
    ]


@pytest.mark.proves("AL-9")
@pytest.mark.refutes("AL-9")
@pytest.mark.parametrize("is_endless", [False, True])
async def test_what_changes_meanwhile_is_looked_at_again(is_endless: bool) -> None:
    allocating = Allocating()
    cluster, ask, meddled = allocating.cluster, allocating.cluster.request, []

    async def request(method: str, path: str, **rest: Any) -> Answer:
        if method == "PATCH" and (is_endless or not meddled):
            meddled.append(path)
            theirs = status((f"10.1.1.{len(meddled)}", "a.example"))
            allocating.make("entry", "a.example", status=theirs)
        return await ask(method, path, **rest)

    cluster.request = request  # type: ignore[method-assign]
    allocating.make("entry", "a.example")
    allocating.show()
    async with settled(allocating.controller.run()) as until:
        # The watch tells of none of it: each change it told would begin anew.
        await allocating.rest(until, is_shown=False)
    if is_endless:
        # Three looks in each of two tries.
        assert len(meddled) == 6
        (trouble,) = allocating.controller.troubles.values()
        assert (trouble.outcome, trouble.is_given_up) == (Outcome.REFUSED, True)
    else:
        # What somebody else has written meanwhile is kept.
        found = allocating.allocated()["a.example"]
        assert found == ["10.1.1.1", first_choice("entry", "a.example")[1]]


@pytest.mark.proves("AL-10", "AL-13")
@pytest.mark.refutes("AL-13")
async def test_nothing_happens_without_a_lead_or_before_everything_is_known() -> None:
    for change in ({"is_ready": False}, {"lead": 0.0}, {"paths": {}}):
        allocating = Allocating(options={"paths": change.get("paths", PATHS)})
        allocating.replica.is_ready = bool(change.get("is_ready", True))
        allocating.replica.lead.seconds_left = float(str(change.get("lead", 8.0)))
        allocating.make("entry", "a.example")
        async with settled(allocating.controller.run()) as until:
            await allocating.rest(until)
            assert not allocating.cluster.asked
            assert not allocating.controller.troubles
            if "paths" in change:
                continue
            allocating.replica.is_ready, allocating.replica.lead.seconds_left = True, 8.0
            await allocating.rest(until)
        assert set(allocating.allocated()) == {"a.example"}


@pytest.mark.proves("AL-10")
async def test_what_a_leader_before_allocated_is_known_before_the_watch_shows_it() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.0/30",)})
    allocating.make("first", "a.example")
    allocating.show()
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until, is_shown=False)
    before = allocating.allocated()
    assert before
    # Nobody has seen that write, nor the entry that came after it.
    allocating.make("second", "b.example")
    replica = allocating.another()
    replica.show(*allocating.cluster.pending[-1])
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until, is_shown=False)
    found = allocating.allocated()
    assert found["a.example"] == before["a.example"]
    assert sorted(each for values in found.values() for each in values) == [
        "240.240.1.1",
        "240.240.1.2",
    ]


@pytest.mark.proves("AL-10")
async def test_what_others_change_is_put_right_in_the_next_round() -> None:
    allocating = Allocating(options={"resync": 50.0})
    allocating.make("entry", "a.example")
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        before = allocating.allocated()
        # The watch never tells, and never will.
        allocating.make("entry", "a.example", status={})
        allocating.cluster.pending.clear()
        await until(lambda: len(allocating.clock.slept) > 70 and allocating.controller.is_idle)
    assert allocating.allocated() == before


@pytest.mark.proves("AL-11")
@pytest.mark.refutes("AL-11")
async def test_the_watch_may_lag_behind_our_writes() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.0/29",)})
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        for number in range(6):
            allocating.make(f"e{number}", "a.example")
            # What is shown is what the user wrote, never what came of it.
            allocating.replica.show(*allocating.cluster.pending[-1])
            await allocating.rest(until, is_shown=False)
        found = allocating.held(*(f"e{number}" for number in range(6)))
        assert len({value for values in found for value in values}) == 6
        assert len(allocating.cluster.writes) == 6
        await allocating.rest(until)
        assert allocating.held(*(f"e{number}" for number in range(6))) == found
        assert len(allocating.cluster.writes) == 6


@pytest.mark.proves("AL-11")
async def test_an_answer_that_was_lost_leaves_the_address_in_use() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.0/30",)})
    allocating.cluster.lost_after.add("PATCH")
    allocating.make("first", "a.example")
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        allocating.make("second", "a.example")
        await allocating.rest(until)
    found = allocating.held("first", "second")
    assert sorted(found) == [["240.240.1.1"], ["240.240.1.2"]]
    assert len(allocating.cluster.writes) == 2


@pytest.mark.proves("AL-12", "AL-4")
@pytest.mark.refutes("AL-12")
async def test_a_range_that_is_used_up() -> None:
    allocating = Allocating(options={"ranges": SMALL})
    for number in range(4):
        allocating.make(f"e{number}", f"h{number}.example", created=number)
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        found = allocating.allocated()
        assert {len(values) for host, values in found.items() if host < "h2"} == {2}
        assert {len(values) for host, values in found.items() if host > "h2"} == {1}
        troubles = {key.name: each for key, each in allocating.controller.troubles.items()}
        assert set(troubles) == {"e2", "e3"}
        assert troubles["e2"].outcome is Outcome.EXHAUSTED
        assert troubles["e2"].message == (
            "no address of 240.240.1.0/30 is left for host h2.example"
        )
        allocating.delete("e0")
        await allocating.rest(until)
        assert {key.name for key in allocating.controller.troubles} == {"e3"}
        kept = found["h1.example"]
        found = allocating.allocated()
        assert found["h1.example"] == kept
        assert len(found["h2.example"]) == 2
        allocating.make("e3", "h3.example", resolution="NONE", created=3)
        await allocating.rest(until)
        assert not allocating.controller.troubles


@pytest.mark.proves("AL-13")
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (a_refusal(403, "Forbidden"), Outcome.FORBIDDEN),
        (a_refusal(409, "Conflict"), Outcome.CONFLICT),
        (a_refusal(422, "Invalid"), Outcome.REFUSED),
        (a_refusal(400, message="admission webhook denied"), Outcome.REFUSED),
        (a_refusal(404, "NotFound"), None),
        (Answer(200, b"[]"), Outcome.UNAVAILABLE),
    ],
)
async def test_one_that_cannot_be_written_stops_no_other(
    answer: Answer, outcome: Outcome | None
) -> None:
    allocating = Allocating()
    allocating.make("bad", "a.example")
    allocating.make("good", "b.example")
    allocating.cluster.refused["bad"] = answer
    async with settled(allocating.controller.run()) as until:
        await until(lambda: (allocating.show(), bool(allocating.allocated()))[1])
        bad = Name("default", "bad")
        if outcome is not None:
            await until(lambda: bad in allocating.controller.troubles)
            assert allocating.controller.troubles[bad].outcome is outcome
        if outcome is not Outcome.UNAVAILABLE:
            await allocating.rest(until)
            assert set(allocating.allocated()) == {"b.example"}
        allocating.cluster.refused.clear()
        allocating.make("bad", "a.example", "c.example")
        await allocating.rest(until)
        assert not allocating.controller.troubles
    assert set(allocating.allocated()) == {"a.example", "b.example", "c.example"}


@pytest.mark.proves("AL-13")
async def test_a_list_that_cannot_be_had_keeps_everything_waiting() -> None:
    allocating = Allocating(options={"resync": 30.0})
    allocating.make("entry", "a.example")
    allocating.cluster.fail("GET", ClusterUnavailableError("away"), *[a_refusal(403)] * 2)
    async with settled(allocating.controller.run()) as until:
        await until(
            lambda: any(each.is_given_up for each in allocating.controller.troubles.values())
        )
        assert [str(key) for key in allocating.controller.troubles] == ["/"]
        assert not allocating.cluster.writes
        await until(lambda: (allocating.show(), bool(allocating.cluster.writes))[1])
        await allocating.rest(until)
        assert not allocating.controller.troubles


@pytest.mark.proves("AL-13")
async def test_a_lead_that_ends_ends_the_work() -> None:
    allocating = Allocating()
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        allocating.replica.lead.seconds_left = 0.0
        asked = len(allocating.cluster.asked)
        allocating.make("entry", "a.example")
        await allocating.rest(until)
        assert len(allocating.cluster.asked) == asked
        allocating.replica.lead.seconds_left = 8.0
        await allocating.rest(until)
    assert set(allocating.allocated()) == {"a.example"}


def test_a_range_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        Allocating(options={"ranges": ("nonsense",)})


@pytest.mark.proves("AL-11")
async def test_while_an_answer_is_lost_nobody_else_gets_the_address() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",)})
    cluster, ask = allocating.cluster, allocating.cluster.request

    async def request(method: str, path: str, **rest: Any) -> Answer:
        if method == "PATCH" and not cluster.writes:
            cluster.lost_after.add("PATCH")
            # Older, so that it would be the first to be given what is free.
            allocating.make("second", "a.example", created=1)
            allocating.show()
        return await ask(method, path, **rest)

    cluster.request = request  # type: ignore[method-assign]
    allocating.make("first", "a.example", created=9)
    allocating.show()
    await run(allocating)
    assert allocating.held("first", "second") == [["240.240.1.4"], []]
    assert len(allocating.cluster.writes) == 1


@pytest.mark.proves("AL-10")
async def test_what_another_leader_did_meanwhile_stays() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",)})
    cluster, ask = allocating.cluster, allocating.cluster.request

    async def request(method: str, path: str, **rest: Any) -> Answer:
        if (
            method == "GET"
            and path != PATHS[KIND]
            and not cluster.live(KIND, "young").get("status")
        ):
            # The lead ends before the write, and the next leader decides otherwise.
            allocating.replica.lead.seconds_left = 0.0
            allocating.make(
                "young", "b.example", created=9, status=status(("240.240.1.4", "b.example"))
            )
        return await ask(method, path, **rest)

    cluster.request = request  # type: ignore[method-assign]
    allocating.make("old", "a.example", created=1)
    allocating.make("young", "b.example", created=9)
    allocating.show()
    async with settled(allocating.controller.run()) as until:
        await until(lambda: allocating.replica.lead.seconds_left == 0.0)
        await allocating.rest(until, is_shown=False)
        allocating.replica.lead.seconds_left = 8.0
        await allocating.rest(until)
    assert allocating.allocated() == {"b.example": ["240.240.1.4"]}
    assert not cluster.writes


@pytest.mark.proves("AL-11")
async def test_a_list_from_before_a_write_takes_nothing_back() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",), "resync": 30.0})
    cluster, ask, order = allocating.cluster, allocating.cluster.request, asyncio.Queue[str]()
    began, lists = asyncio.Event(), 0

    async def request(method: str, path: str, **rest: Any) -> Answer:
        nonlocal lists
        lists += path == PATHS[KIND]
        if method == "PATCH" and lists == 1:
            await began.wait()
            answer = await ask(method, path, **rest)
            await order.put("written")
            return answer
        if path == PATHS[KIND] and lists == 2:
            # Older, so that it would be the first to be given what is free.
            allocating.make("second", "b.example", created=1)
            allocating.replica.show(*cluster.pending[-1])
            began.set()
            answer = await ask(method, path, **rest)
            await order.get()
            for _ in range(10):
                await asyncio.sleep(0)
            return answer
        return await ask(method, path, **rest)

    cluster.request = request  # type: ignore[method-assign]
    allocating.make("first", "a.example", created=9)
    allocating.show()
    async with settled(allocating.controller.run()) as until:
        await until(lambda: lists == 3)
    assert allocating.allocated() == {"a.example": ["240.240.1.4"]}
    assert len(cluster.writes) == 1


@pytest.mark.proves("AL-10")
async def test_what_only_a_list_has_shown_is_forgotten_with_the_next_list() -> None:
    allocating = Allocating(options={"ranges": ("240.240.1.4/32",), "resync": 30.0})
    allocating.make("ghost", "a.example", status=status(("240.240.1.4", "a.example")))
    allocating.make("entry", "b.example")
    allocating.replica.show(*allocating.cluster.pending[-1])
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until, is_shown=False)
        assert not allocating.cluster.writes
        allocating.delete("ghost")
        await until(lambda: bool(allocating.cluster.writes))
    assert allocating.allocated() == {"b.example": ["240.240.1.4"]}


@pytest.mark.proves("AL-10")
async def test_a_lead_that_comes_back_lists_before_it_allocates() -> None:
    allocating = Allocating()
    cluster, ask, order = allocating.cluster, allocating.cluster.request, list[str]()

    async def request(method: str, path: str, **rest: Any) -> Answer:
        order.append("LIST" if path == PATHS[KIND] else method)
        if order == ["LIST", "LIST"]:
            allocating.make("entry", "a.example")
            allocating.show()
            for _ in range(20):
                await asyncio.sleep(0)
        return await ask(method, path, **rest)

    cluster.request = request  # type: ignore[method-assign]
    async with settled(allocating.controller.run()) as until:
        await allocating.rest(until)
        allocating.replica.lead.seconds_left = 0.0
        await allocating.rest(until)
        allocating.replica.lead.seconds_left = 8.0
        await until(lambda: len(order) > 1)
        for _ in range(15):
            await asyncio.sleep(0)
        assert order == ["LIST", "LIST"]
        await until(lambda: bool(allocating.allocated()))
