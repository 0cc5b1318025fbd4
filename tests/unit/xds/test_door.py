"""New streams: who pays for them, and who is kept out by whom."""

import pytest

from controlplane.authentication.caller import Caller
from controlplane.xds.door import REFUSAL_COSTS, STREAMS_AT_ONCE, Door
from controlplane.xds.errors import NotServingError, TooManyStreamsError, UnauthenticatedError
from tests.support.discovery import FakeClock

ATTACKER = "ipv4:10.0.0.66:4711"
PROXY = "ipv4:10.0.0.7:4711"


def a_caller(number: int = 0) -> Caller:
    return Caller(
        namespace="istio-system",
        service_account="ztunnel",
        cluster="c",
        pod_name=f"ztunnel-{number}",
        pod_uid=f"uid-{number}",
    )


def refused(door: Door, peer: str) -> bool:
    """Knock with wrong credentials; return whether anybody looked at them."""
    try:
        door.knock(peer)
    except TooManyStreamsError:
        return False
    door.refused(peer, UnauthenticatedError("no"))
    return True


@pytest.mark.proves("XDS-21")
def test_who_is_refused_at_full_speed_keeps_nobody_else_out() -> None:
    clock = FakeClock()
    door = Door(rate=100, burst=200, clock=clock)
    looked_at = 0
    for _ in range(10_000):
        looked_at += refused(door, ATTACKER)
        clock.time += 0.001
    # Ten seconds: the burst and what came after, each worth a stream and what a refusal costs.
    assert looked_at <= (200 + 10 * 100) / (REFUSAL_COSTS + 1) + 1
    for number in range(200):
        door.knock(f"ipv4:10.0.1.{number}:1")
        door.enter(a_caller(number), f"ipv4:10.0.1.{number}:1")


@pytest.mark.refutes("XDS-21")
def test_a_thousand_proxies_behind_one_address_come_back_as_fast_as_any() -> None:
    clock = FakeClock()
    door = Door(rate=100, burst=200, clock=clock)
    waiting = list(range(1000))
    for _ in range(9):
        late = []
        for number in waiting:
            try:
                door.knock(PROXY)
                door.enter(a_caller(number), PROXY)
            except TooManyStreamsError:
                late.append(number)
        waiting = late
        clock.time += 1
    assert not waiting


@pytest.mark.refutes("XDS-21")
def test_what_the_server_cannot_tell_costs_the_client_one_stream() -> None:
    door = Door(rate=0.001, burst=20, clock=FakeClock())
    for _ in range(20):
        door.knock(PROXY)
        door.refused(PROXY, NotServingError("the cluster does not answer"))
    with pytest.raises(TooManyStreamsError):
        door.knock(PROXY)


@pytest.mark.proves("XDS-21")
def test_one_caller_does_not_take_what_all_share() -> None:
    door = Door(rate=100, burst=200, clock=FakeClock())
    for _ in range(STREAMS_AT_ONCE):
        door.enter(a_caller(), PROXY)
    with pytest.raises(TooManyStreamsError):
        door.enter(a_caller(), PROXY)
    for number in range(1, 151):
        door.enter(a_caller(number), PROXY)
    with pytest.raises(TooManyStreamsError):
        door.enter(a_caller(1000), PROXY)


@pytest.mark.refutes("XDS-21")
def test_proxies_of_one_account_that_name_no_pod_are_told_apart_by_address() -> None:
    door = Door(rate=1000, burst=2000, clock=FakeClock())
    caller = Caller(namespace="istio-system", service_account="ztunnel", cluster="c")
    for number in range(2 * STREAMS_AT_ONCE):
        door.enter(caller, f"ipv4:10.0.0.{number}:1")
    for _ in range(STREAMS_AT_ONCE):
        door.enter(caller, PROXY.replace("10.0.0.7", "10.0.1.7"))
    with pytest.raises(TooManyStreamsError):
        door.enter(caller, PROXY.replace("10.0.0.7", "10.0.1.7"))
