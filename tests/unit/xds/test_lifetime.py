"""How long a stream lasts: as any, or as the token that opened it."""

from dataclasses import replace

import pytest

from controlplane.authentication.caller import Caller
from controlplane.xds.lifetime import last_moment
from tests.support.dataflow_time import VirtualClock
from tests.support.issuing import WAYPOINT, ZTUNNEL

AGE = 1000.0


@pytest.mark.proves("WS-30")
@pytest.mark.parametrize("caller", [WAYPOINT, ZTUNNEL])
def test_a_stream_ends_with_its_token(caller: Caller) -> None:
    clock = VirtualClock()
    opened = replace(caller, expires_at=clock.now().timestamp() + 60)
    assert last_moment(opened, clock, age=AGE) == (60.0, "the token it was opened with expired")


@pytest.mark.refutes("WS-30")
def test_a_token_that_outlives_the_stream_or_never_ends_changes_nothing() -> None:
    clock = VirtualClock()
    later = replace(WAYPOINT, expires_at=clock.now().timestamp() + 10 * AGE)
    for caller in (later, replace(WAYPOINT, expires_at=None), None):
        until, reason = last_moment(caller, clock, age=AGE)
        assert AGE <= until <= AGE * 4 / 3
        assert reason == "connection age reached"


def test_a_token_in_its_last_moment_does_not_bring_its_client_back_at_once() -> None:
    clock = VirtualClock()
    last = replace(WAYPOINT, expires_at=clock.now().timestamp() - 5)
    assert last_moment(last, clock, age=AGE)[0] == 1.0
