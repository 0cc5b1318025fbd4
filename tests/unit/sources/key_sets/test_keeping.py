"""When key sets are asked for, and what is known of them meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from controlplane.authentication.errors import KeySetError
from controlplane.model.token_rule import FetchedKeySet, KeySetRequest
from controlplane.sources.key_sets.keeping import KeepingSettings, KeySets
from tests.support.dataflow_time import VirtualClock, let_run

URI = "https://issuer.example/keys"
SETTINGS = KeepingSettings(refresh=1200.0, lifetime=3600.0, most=3)


class Issuers:
    """What answers at addresses: keys, or why not; and who asked when."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: dict[str, str | KeySetError] = {}
        self.asked: list[tuple[float, KeySetRequest]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, request: KeySetRequest) -> str:
        self.asked.append((self.clock.monotonic(), request))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        answer = self.answers.get(request.uri, "keys")
        if isinstance(answer, KeySetError):
            raise answer
        return answer


class Rig:
    def __init__(self, settings: KeepingSettings = SETTINGS) -> None:
        self.clock = VirtualClock()
        self.issuers = Issuers(self.clock)
        self.found: list[FetchedKeySet] = []
        self.tried: list[bool] = []
        self.key_sets = KeySets(
            self.issuers,
            self.clock,
            settings,
            found=self.found.append,
            tried=self.tried.append,
            chance=random.Random(1),
        )

    @property
    def times(self) -> list[float]:
        return [moment for moment, _ in self.issuers.asked]


@asynccontextmanager
async def _running(settings: KeepingSettings = SETTINGS) -> AsyncIterator[Rig]:
    rig = Rig(settings)
    task = asyncio.create_task(rig.key_sets.run())
    try:
        yield rig
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.proves("RA-24")
async def test_a_key_set_is_fetched_and_looked_at_again() -> None:
    async with _running() as rig:
        start = rig.clock.monotonic()
        rig.key_sets.want(KeySetRequest(URI, 3.0))
        await let_run()
        assert rig.found == [FetchedKeySet(URI, "keys")]
        assert [request for _, request in rig.issuers.asked] == [KeySetRequest(URI, 3.0)]
        rig.issuers.answers[URI] = "rotated"
        await rig.clock.advance(1200.0)
        assert rig.found[-1] == FetchedKeySet(URI, "rotated")
        (_, second) = rig.times
        assert 1080.0 <= second - start <= 1200.0
        assert rig.tried == [True, True]


@pytest.mark.refutes("RA-24")
async def test_who_is_being_asked_is_not_asked_again_and_some_wait() -> None:
    async with _running(KeepingSettings(refresh=10.0, lifetime=10.0, most=100)) as rig:
        rig.issuers.open.clear()
        for _ in range(3):
            for number in range(20):
                rig.key_sets.want(KeySetRequest(f"{URI}/{number}"))
            await let_run()
            await rig.clock.advance(60.0)
        assert len(rig.issuers.asked) == rig.issuers.most_at_once == 8
        rig.issuers.open.set()
        await let_run()
        assert sorted(keys.uri for keys in rig.found) == sorted(f"{URI}/{n}" for n in range(20))


@pytest.mark.proves("RA-25")
@pytest.mark.refutes("RA-25")
async def test_what_was_good_stays_for_a_while() -> None:
    async with _running() as rig:
        rig.key_sets.want(KeySetRequest(URI))
        await let_run()
        rig.issuers.answers[URI] = KeySetError("away")
        await rig.clock.advance(3000.0)
        assert {keys for keys in rig.found if keys.failure} == {FetchedKeySet(URI, "keys", "away")}
        await rig.clock.advance(1500.0)
        assert rig.found[-1] == FetchedKeySet(URI, "", "away")
        rig.issuers.answers[URI] = "again"
        await rig.clock.advance(310.0)
        assert rig.found[-1] == FetchedKeySet(URI, "again")


@pytest.mark.proves("RA-25")
async def test_who_fails_is_asked_less_and_less() -> None:
    async with _running() as rig:
        rig.issuers.answers[URI] = KeySetError("away")
        with capture_logs() as logs:
            rig.key_sets.want(KeySetRequest(URI))
            await let_run()
            await rig.clock.advance(2000.0)
        waits = [later - sooner for sooner, later in zip(rig.times, rig.times[1:], strict=False)]
        assert all(min(300, 2**n) / 2 <= wait <= min(300, 2**n) for n, wait in enumerate(waits))
        assert 14 <= len(waits) <= 20
        assert set(rig.found) == {FetchedKeySet(URI, "", "away")}
        assert [each["event"] for each in logs] == ["key_set.unavailable"]
        assert "keys" not in logs[0].values()


@pytest.mark.proves("RA-26")
@pytest.mark.refutes("RA-26")
async def test_there_are_only_so_many_and_place_is_made() -> None:
    async with _running() as rig:
        for number in range(5):
            rig.key_sets.want(KeySetRequest(f"{URI}/{number}"))
        await let_run()
        failed = {keys.uri for keys in rig.found if keys.failure}
        assert failed == {f"{URI}/3", f"{URI}/4"}
        assert len(rig.issuers.asked) == 3
        rig.key_sets.forget(f"{URI}/0")
        await let_run()
        assert rig.issuers.asked[-1][1].uri == f"{URI}/3"
        assert rig.found[-1] == FetchedKeySet(f"{URI}/3", "keys")


@pytest.mark.proves("RA-27")
async def test_what_is_forgotten_is_not_asked_for_and_not_told() -> None:
    async with _running() as rig:
        rig.issuers.open.clear()
        rig.key_sets.want(KeySetRequest(URI))
        await let_run()
        rig.key_sets.forget(URI)
        rig.issuers.open.set()
        await rig.clock.advance(3000.0)
        assert rig.found == []
        assert len(rig.issuers.asked) == 1
        rig.key_sets.want(KeySetRequest(URI))
        await let_run()
        assert rig.found == [FetchedKeySet(URI, "keys")]
