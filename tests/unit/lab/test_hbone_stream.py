"""A stream buffers what came, in order, and gives windows back for what was read."""

import asyncio

import pytest

from controlplane.lab.hbone_errors import ConnectionEndedError, HboneError, StreamResetError
from controlplane.lab.hbone_stream import HboneStream


class Recorder:
    """A connection that writes down what a stream wants of it."""

    def __init__(self) -> None:
        self.sent = b""
        self.consumed_bytes = 0
        self.ends: list[int] = []
        self.resets: list[tuple[int, int]] = []

    async def send(self, stream: HboneStream, data: bytes) -> None:
        self.sent += data

    def send_end(self, number: int) -> None:
        self.ends.append(number)

    def send_reset(self, number: int, error_code: int) -> None:
        self.resets.append((number, error_code))

    def consumed(self, number: int, length: int) -> None:
        self.consumed_bytes += length


async def test_reads_are_in_order_and_no_longer_than_asked() -> None:
    carrier = Recorder()
    stream = HboneStream(carrier, 1)
    stream.received(b"hello ")
    stream.received(b"world")
    assert carrier.consumed_bytes == 0
    assert [await stream.read(4) for _ in range(3)] == [b"hell", b"o ", b"worl"]
    assert carrier.consumed_bytes == 10
    stream.received_end()
    assert [await stream.read(), await stream.read()] == [b"d", b""]
    assert stream.bytes_received == 11


async def test_a_waiting_reader_is_woken() -> None:
    stream = HboneStream(Recorder(), 1)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.received(b"late")
    assert await reading == b"late"


async def test_our_end_leaves_the_other_side_open() -> None:
    carrier = Recorder()
    stream = HboneStream(carrier, 7)
    await stream.write(b"question")
    stream.end()
    stream.end()
    assert carrier.ends == [7]
    with pytest.raises(HboneError):
        await stream.write(b"more")
    stream.received(b"answer")
    assert await stream.read() == b"answer"
    assert not stream.is_over
    stream.received_end()
    assert stream.is_over
    stream.reset()
    assert carrier.resets == []


async def test_a_broken_stream_says_why_after_what_came_before() -> None:
    carrier = Recorder()
    stream = HboneStream(carrier, 1)
    stream.received(b"before")
    stream.fail(StreamResetError(8))
    stream.fail(ConnectionEndedError("later"))
    assert carrier.consumed_bytes == 6
    assert await stream.read() == b"before"
    assert carrier.consumed_bytes == 6
    with pytest.raises(StreamResetError):
        await stream.read()
    with pytest.raises(StreamResetError):
        await stream.write(b"x")
    with pytest.raises(StreamResetError):
        await stream.headers


async def test_what_was_not_read_is_given_back_when_it_is_given_up() -> None:
    carrier = Recorder()
    stream = HboneStream(carrier, 1)
    stream.received(b"unread")
    stream.reset(2)
    stream.received(b"too late")
    assert carrier.resets == [(1, 2)]
    assert carrier.consumed_bytes == len(b"unread" + b"too late")
    with pytest.raises(HboneError):
        await stream.read()
