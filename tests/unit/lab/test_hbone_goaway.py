"""GOAWAY is taken out of the bytes of a connection, however they are cut."""

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame

from controlplane.lab.hbone_errors import ConnectionEndedError
from controlplane.lab.hbone_goaway import GoAway, GoAwayFilter

PING = PingFrame(opaque_data=b"12345678").serialize()
DATA = DataFrame(stream_id=3, data=b"some bytes").serialize()
AWAY = GoAwayFrame(last_stream_id=5, error_code=0, additional_data=b"drain").serialize()


@pytest.mark.parametrize("size", [1, 2, 9, 10, 26, 1000])
def test_everything_else_goes_on_in_order(size: int) -> None:
    whole = PING + AWAY + DATA + PING + AWAY + DATA
    reader = GoAwayFilter()
    others, said = b"", []
    for start in range(0, len(whole), size):
        part, found = reader.feed(whole[start : start + size])
        others += part
        said += found
    assert others == PING + DATA + PING + DATA
    assert said == [GoAway(last_stream=5, error_code=0)] * 2


def test_the_payload_of_another_frame_is_not_taken_for_one() -> None:
    content = DataFrame(stream_id=3, data=AWAY).serialize()
    assert GoAwayFilter().feed(content) == (content, [])


def test_an_incomplete_frame_waits() -> None:
    reader = GoAwayFilter()
    assert reader.feed(DATA[:-1]) == (b"", [])
    assert reader.feed(DATA[-1:]) == (DATA, [])


def test_a_frame_that_is_longer_than_allowed_ends_the_connection() -> None:
    frame = DataFrame(stream_id=3, data=bytes((1 << 14) + 1)).serialize()
    with pytest.raises(ConnectionEndedError):
        GoAwayFilter().feed(frame[:9])
