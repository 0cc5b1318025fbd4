"""When who we are to an API server is read anew."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from controlplane.cluster.credentials import Credentials
from controlplane.cluster.errors import ClusterConfigurationError
from tests.support.authority_stores import ToldClock


def a_configuration(token: str) -> Any:
    configuration = Configuration()
    configuration.host = f"http://{token}/"
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    return configuration


class Read:
    """What is read next; an exception is raised."""

    def __init__(self) -> None:
        self.found: Any = a_configuration("t2")
        self.times = 0

    async def __call__(self) -> Any:
        self.times += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def read() -> Read:
    return Read()


@pytest.fixture
def credentials(clock: ToldClock, read: Read, tmp_path: Path) -> Credentials:
    (tmp_path / "file").write_text("1")
    return Credentials(
        a_configuration("t1"), clock=clock, read=read, files=(tmp_path / "file",), patience=0.01
    )


async def token(credentials: Credentials) -> str:
    return (await credentials.headers())["authorization"].removeprefix("Bearer ")


@pytest.mark.proves("KS-18")
async def test_everything_is_read_once_a_minute(
    credentials: Credentials, clock: ToldClock, read: Read
) -> None:
    clock.advance(seconds=59)
    assert await token(credentials) == "t1"
    clock.advance(seconds=2)
    assert await token(credentials) == "t2"
    assert (credentials.host, read.times) == ("http://t2", 1)


@pytest.mark.proves("KS-18")
async def test_a_file_that_was_written_is_read_within_a_second(
    credentials: Credentials, clock: ToldClock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("22")
    assert await token(credentials) == "t1"
    clock.advance(seconds=1)
    assert await token(credentials) == "t2"


@pytest.mark.proves("KS-18")
async def test_who_is_not_known_reads_anew_but_not_all_the_time(
    credentials: Credentials, clock: ToldClock, read: Read
) -> None:
    for _ in range(10):
        credentials.doubted()
        await credentials.headers()
    assert read.times == 0
    clock.advance(seconds=1)
    for _ in range(10):
        await credentials.headers()
        credentials.doubted()
    assert read.times == 1


@pytest.mark.refutes("KS-18")
async def test_what_cannot_be_used_changes_nothing_and_is_tried_again(
    credentials: Credentials, clock: ToldClock, read: Read, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("22")
    trust = credentials.trust
    broken = a_configuration("t3")
    broken.ssl_ca_cert = str(tmp_path / "none")
    for found in (ClusterConfigurationError("no"), OSError("no"), broken):
        read.found = found
        clock.advance(seconds=1)
        assert await token(credentials) == "t1"
        assert credentials.trust is trust
    read.found = a_configuration("t4")
    clock.advance(seconds=1)
    assert await token(credentials) == "t4"
    assert credentials.trust is not trust


@pytest.mark.refutes("KS-18")
async def test_a_program_that_hangs_is_not_waited_for(clock: ToldClock) -> None:
    async def hangs() -> Any:
        await asyncio.Event().wait()

    credentials = Credentials(a_configuration("t1"), clock=clock, read=hangs, patience=0.01)
    clock.advance(minutes=2)
    assert await token(credentials) == "t1"


async def test_without_a_way_to_read_nothing_changes(clock: ToldClock) -> None:
    credentials = Credentials(a_configuration("t1"), clock=clock)
    clock.advance(hours=2)
    credentials.doubted()
    assert await token(credentials) == "t1"
