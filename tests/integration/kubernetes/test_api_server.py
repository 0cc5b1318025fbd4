"""Where the API server is and who we are to it: kubeconfig, files of a pod, certificates."""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from controlplane.cluster.api_server import ApiServer, ClusterLocation, open_cluster
from controlplane.cluster.errors import (
    ClusterConfigurationError,
    ClusterRefusedError,
    ClusterUnavailableError,
)
from tests.support.authority_stores import ToldClock
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_keys import Keys


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


def kubeconfig(path: Path, url: str, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def version(client: ApiServer) -> int:
    try:
        answer = await client.request("GET", "/version")
    finally:
        await client.close()
    if answer.status == 200:
        assert json.loads(answer.body)["major"] == "1"
    return answer.status


async def test_a_kubeconfig_with_a_token(tmp_path: Path, keys: Keys) -> None:
    async with KubernetesApi(tls=keys.server(), token="t1") as api:
        cluster = {"certificate-authority": str(keys.root)}
        for token, status in (("t1", 200), ("t2", 401)):
            path = kubeconfig(tmp_path / token, api.url, cluster, {"token": token})
            location = ClusterLocation(kubeconfig=path)
            assert location.is_found
            assert await version(await open_cluster(location)) == status


async def test_a_kubeconfig_with_a_client_certificate(tmp_path: Path, keys: Keys) -> None:
    async with KubernetesApi(tls=keys.server(asks_clients=True)) as api:
        cluster = {"certificate-authority": str(keys.root)}
        user = {"client-certificate": str(keys.certificate), "client-key": str(keys.key)}
        ours = kubeconfig(tmp_path / "ours", api.url, cluster, user)
        assert await version(await open_cluster(ClusterLocation(kubeconfig=ours))) == 200
        nobody = kubeconfig(tmp_path / "nobody", api.url, cluster, {})
        with pytest.raises(ClusterUnavailableError):
            await version(await open_cluster(ClusterLocation(kubeconfig=nobody)))


async def test_a_server_of_another_authority_is_not_talked_to(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "other").mkdir()
    other = Keys(tmp_path / "other")
    async with KubernetesApi(tls=keys.server()) as api:
        path = kubeconfig(tmp_path / "k", api.url, {"certificate-authority": str(other.root)}, {})
        with pytest.raises(ClusterUnavailableError):
            await version(await open_cluster(ClusterLocation(kubeconfig=path)))
        assert api.asked == []


@pytest.mark.proves("KS-18")
async def test_a_pod_reads_its_token_again(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("t1")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(keys.root))
    clock = ToldClock()
    async with KubernetesApi(tls=keys.server(), token="t1") as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        assert ClusterLocation().is_in_pod
        client = await open_cluster(ClusterLocation(), clock=clock)

        async def status() -> int:
            clock.time += dt.timedelta(seconds=2)
            return (await client.request("GET", "/version")).status

        try:
            assert await status() == 200
            api.token = "t2"
            token.write_text("t2")
            assert await status() == 200
            token.write_text("")
            assert await status() == 200
            api.token = "t3"
            assert await status() == 401
            token.write_text("t3")
            assert await status() == 200
        finally:
            await client.close()


@pytest.mark.proves("KS-18")
async def test_a_kubeconfig_that_is_rewritten_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Keys(tmp_path / "old"), Keys(tmp_path / "new")
    path, clock = tmp_path / "config", ToldClock()

    def write(url: str, its: Keys) -> None:
        cluster = {"certificate-authority": str(its.root)}
        user = {"client-certificate": str(its.certificate), "client-key": str(its.key)}
        kubeconfig(path, url, cluster, user)

    async def status(client: ApiServer) -> int:
        clock.time += dt.timedelta(seconds=2)
        return (await client.request("GET", "/version")).status

    async with (
        KubernetesApi(tls=old.server(asks_clients=True)) as first,
        KubernetesApi(tls=new.server(asks_clients=True)) as second,
    ):
        write(first.url, old)
        client = await open_cluster(ClusterLocation(kubeconfig=path), clock=clock)
        try:
            assert await status(client) == 200
            write(second.url, new)
            await first.stop()
            assert await status(client) == 200
        finally:
            await client.close()


@pytest.mark.proves("KS-18")
async def test_a_certificate_that_is_replaced_in_place_is_used(tmp_path: Path, keys: Keys) -> None:
    mine = tmp_path / "mine"
    (tmp_path / "other").mkdir()
    mine.mkdir()
    other, clock = Keys(tmp_path / "other"), ToldClock()
    used = {"client-certificate": str(mine / "tls.pem"), "client-key": str(mine / "tls.key")}
    async with KubernetesApi(tls=keys.server(asks_clients=True)) as api:
        cluster = {"certificate-authority": str(keys.root)}
        path = kubeconfig(tmp_path / "config", api.url, cluster, used)
        for name in ("tls.pem", "tls.key"):
            (mine / name).write_bytes((tmp_path / "other" / name).read_bytes())
        client = await open_cluster(ClusterLocation(kubeconfig=path), clock=clock)
        try:
            with pytest.raises(ClusterUnavailableError):
                await client.request("GET", "/version")
            # Its key is not there yet: the two do not fit, and nothing changes.
            (mine / "tls.pem").write_bytes(keys.certificate.read_bytes())
            clock.time += dt.timedelta(seconds=2)
            with pytest.raises(ClusterUnavailableError):
                await client.request("GET", "/version")
            (mine / "tls.key").write_bytes(keys.key.read_bytes())
            clock.time += dt.timedelta(seconds=2)
            assert (await client.request("GET", "/version")).status == 200
        finally:
            await client.close()
    assert other.key.read_bytes() != (mine / "tls.key").read_bytes()


@pytest.mark.refutes("KS-18")
async def test_half_a_kubeconfig_changes_nothing(tmp_path: Path) -> None:
    clock = ToldClock()
    async with KubernetesApi(token="t1") as api:
        path = kubeconfig(tmp_path / "config", api.url, {}, {"token": "t1"})
        whole = path.read_text()
        client = await open_cluster(ClusterLocation(kubeconfig=path), clock=clock)
        try:
            for text in (whole[:40], "", "{", whole.replace("t1", "t2")[:-20]):
                path.write_text(text)
                clock.time += dt.timedelta(seconds=2)
                assert (await client.request("GET", "/version")).status == 200
        finally:
            await client.close()


async def test_how_long_a_busy_server_asks_to_wait_is_told(tmp_path: Path) -> None:
    async with KubernetesApi() as api:
        path = kubeconfig(tmp_path / "config", api.url, {}, {})
        client = await open_cluster(ClusterLocation(kubeconfig=path))
        api.fail("list", "pods", 429)
        api.fail("watch", "pods", 429)
        try:
            answer = await client.request("GET", "/api/v1/pods")
            assert (answer.status, answer.retry_after) == (429, 1.0)
            with pytest.raises(ClusterRefusedError) as refused:
                await anext(client.stream("/api/v1/pods", {"watch": "true"}))
            assert refused.value.retry_after == 1.0
        finally:
            await client.close()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "a: 1", "current-context: x\ncontexts: []\nusers: []\nclusters: []"]
)
async def test_an_unusable_kubeconfig_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ClusterConfigurationError):
        await open_cluster(ClusterLocation(kubeconfig=path))


async def test_no_kubeconfig_is_no_cluster() -> None:
    assert not ClusterLocation().is_found
    with pytest.raises(ClusterConfigurationError):
        await open_cluster(ClusterLocation())


def test_the_packages_of_a_cluster_are_imported_late() -> None:
    program = (
        "import sys, controlplane.cluster.api_server, controlplane.sources.kubernetes.source;"
        "sys.exit(bool({'kubernetes', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, env=dict(os.environ))
    assert done.returncode == 0
