"""Live events: few, bounded, ended on request, and nothing is looked at while nobody listens."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from controlplane.admin.page.live import LASTS, Live
from tests.support.admin import AdminRig, bookinfo
from tests.support.discovery import FakeClock


class Steps(FakeClock):
    """Time that waits until a test lets it go on, a sleep at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: asyncio.Queue[None] = asyncio.Queue()
        self.sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await self._turns.get()
        self.time += seconds

    async def step(self, count: int = 1) -> None:
        for _ in range(count):
            self._turns.put_nowait(None)
            for _ in range(50):
                await asyncio.sleep(0)


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await asyncio.wait_for(anext(events), 5)


def _live(listeners: int = 4) -> tuple[AdminRig, Steps, Live]:
    rig, clock = bookinfo(), Steps()
    return rig, clock, Live(rig.view, clock, listeners=listeners)


async def test_a_listener_hears_at_once_and_then_of_each_change() -> None:
    rig, clock, live = _live()
    events = live.events()
    assert (await _next(events)).startswith(b"event: changed\n")
    await clock.step()
    seen = asyncio.create_task(_next(events))
    await clock.step(2)
    first = await seen
    rig.connect("node-1")
    seen = asyncio.create_task(_next(events))
    await clock.step(2)
    assert await seen != first
    await events.aclose()


async def test_without_a_change_only_a_heartbeat_is_heard() -> None:
    _, clock, live = _live()
    events = live.events()
    await _next(events)
    heard = [asyncio.create_task(_next(events))]
    for _ in range(20):
        await clock.step()
        if heard[-1].done() and len(heard) < 2:
            heard.append(asyncio.create_task(_next(events)))
    # The first look differs from having seen nothing; then there is silence for 15 seconds.
    assert heard[0].result().startswith(b"event: changed")
    assert heard[1].result().startswith(b":")
    await events.aclose()


async def test_nothing_is_looked_at_while_nobody_listens() -> None:
    _, clock, live = _live()
    await clock.step()
    assert clock.sleeps == 0
    events = live.events()
    await _next(events)
    await clock.step()
    await events.aclose()
    before = clock.sleeps
    await clock.step(3)
    assert (live.listeners, clock.sleeps) == (0, before)


async def test_there_is_room_for_so_many_listeners() -> None:
    _, _, live = _live(listeners=2)
    both = [live.events(), live.events()]
    for events in both:
        assert live.is_open
        await _next(events)
    assert not live.is_open
    for events in both:
        await events.aclose()
    assert live.is_open


async def test_who_asked_at_once_for_the_last_place_gets_one_between_them() -> None:
    _, _, live = _live(listeners=2)
    several = [live.events() for _ in range(5)]
    assert live.is_open
    heard = [await _next(events) for events in several]
    assert [each.startswith(b"event") for each in heard] == [True, True, False, False, False]
    assert live.listeners == 2
    assert await _rest(several[-1]) == []
    for events in several:
        await events.aclose()
    assert (live.listeners, live.is_open) == (0, True)


async def test_closing_ends_every_stream_and_takes_no_more() -> None:
    _, _, live = _live()
    events = live.events()
    await _next(events)
    rest = asyncio.create_task(_rest(events))
    await asyncio.sleep(0)
    live.close()
    assert await asyncio.wait_for(rest, 5) == []
    assert not live.is_open


async def test_a_stream_ends_after_a_while() -> None:
    _, clock, live = _live()
    events = live.events()
    await _next(events)
    rest = asyncio.create_task(_rest(events))
    clock.time += LASTS
    await clock.step(2)
    assert all(event.startswith(b"event") for event in await asyncio.wait_for(rest, 5))


async def test_trouble_with_looking_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, clock, live = _live()
    events = live.events()
    await _next(events)

    async def broken() -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(type(rig.view), "fleet", lambda _: broken())
    await clock.step(3)
    monkeypatch.undo()
    seen = asyncio.create_task(_next(events))
    await clock.step(2)
    assert (await seen).startswith(b"event: changed")
    await events.aclose()


async def _rest(events: AsyncIterator[bytes]) -> list[bytes]:
    return [event async for event in events]
