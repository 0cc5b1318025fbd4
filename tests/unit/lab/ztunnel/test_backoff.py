"""How long the client waits between streams."""

import grpc
import pytest

from controlplane.lab.ztunnel.backoff import Backoff, StreamEnd

Code = grpc.StatusCode


def waits(*ends: StreamEnd) -> list[float]:
    backoff = Backoff()
    return [backoff.wait_after(end) for end in ends]


def ended(code: Code | None, details: str = "") -> StreamEnd:
    return StreamEnd(was_established=True, code=code, details=details)


NEVER_UP = StreamEnd(was_established=False, code=Code.UNAVAILABLE, details="refused")


@pytest.mark.proves("ZT-8")
@pytest.mark.parametrize(
    ("end", "wait"),
    [
        (ended(None), 0.0),
        (ended(Code.UNKNOWN), 0.01),
        (ended(Code.CANCELLED), 0.01),
        (ended(Code.DEADLINE_EXCEEDED), 0.01),
        (ended(Code.UNAVAILABLE, "error: transport is closing"), 0.01),
        (ended(Code.UNAVAILABLE, "Received prior GOAWAY: x"), 0.01),
    ],
)
def test_routine_ends_reconnect_soon_and_start_the_waits_again(end: StreamEnd, wait: float) -> None:
    assert waits(NEVER_UP, NEVER_UP, end, NEVER_UP) == [0.01, 0.02, wait, 0.01]


@pytest.mark.refutes("ZT-8")
@pytest.mark.parametrize(
    "end",
    [
        NEVER_UP,
        ended(Code.UNAVAILABLE, "connection refused"),
        ended(Code.PERMISSION_DENIED),
        StreamEnd(was_established=False, code=Code.UNKNOWN),
        StreamEnd(was_established=False),
    ],
)
def test_trouble_waits_longer_each_time_up_to_a_limit(end: StreamEnd) -> None:
    seconds = waits(*[end] * 14)
    assert seconds[:4] == [0.01, 0.02, 0.04, 0.08]
    assert seconds[-2:] == [15.0, 15.0]
