"""Starting a real API server, tried with programs that stand in for its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.cluster.api_server import ClusterLocation, open_cluster
from tests.support.kubernetes_server import ASSETS, DidNotStartError, started, why_there_is_none
from tests.support.kubernetes_stand_in import arguments_of, write_programs


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "assets"
    folder.mkdir()
    return write_programs(folder)


async def test_both_programs_run_while_they_are_needed(assets: Path, tmp_path: Path) -> None:
    with started(assets, tmp_path) as kubeconfig:
        client = await open_cluster(ClusterLocation(kubeconfig=kubeconfig))
        assert (await client.request("GET", "/api/v1/namespaces")).status == 200
        await client.close()
    etcd, api = arguments_of(assets, "etcd"), arguments_of(assets, "kube-apiserver")
    assert api["etcd-servers"] == etcd["listen-client-urls"] == etcd["advertise-client-urls"]
    assert etcd["initial-cluster"] == f"default={etcd['listen-peer-urls']}"
    for url in (etcd["listen-client-urls"], etcd["listen-peer-urls"]):
        assert url.startswith("http://127.0.0.1:")
    assert (api["bind-address"], api["authorization-mode"]) == ("127.0.0.1", "RBAC")


def test_the_files_it_is_given_are_there(assets: Path, tmp_path: Path) -> None:
    with started(assets, tmp_path):
        api = arguments_of(assets, "kube-apiserver")
    for name in ("tls-cert-file", "client-ca-file"):
        assert b"-----BEGIN CERTIFICATE-----" in Path(api[name]).read_bytes()
    for name in ("tls-private-key-file", "service-account-signing-key-file"):
        assert b"-----BEGIN PRIVATE KEY-----" in Path(api[name]).read_bytes()
    assert b"-----BEGIN PUBLIC KEY-----" in Path(api["service-account-key-file"]).read_bytes()


def test_a_program_that_ends_is_told_with_its_last_words(assets: Path, tmp_path: Path) -> None:
    (assets / "kube-apiserver").write_text("#!/bin/sh\necho unknown flag >&2\nexit 1\n")
    with pytest.raises(DidNotStartError, match="unknown flag"), started(assets, tmp_path):
        pass


def test_a_cluster_somebody_works_with_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ASSETS, raising=False)
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    assert why_there_is_none(is_asked_for=True) == ""
    assert ASSETS in why_there_is_none(is_asked_for=False)
    monkeypatch.delenv("KUBECONFIG")
    assert ASSETS in why_there_is_none(is_asked_for=True)


@pytest.mark.timeout(60)
def test_the_suites_for_a_real_server_pass_with_the_stand_in(assets: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "kube", "--strict-markers"]
    environment = {**os.environ, ASSETS: str(assets)}
    suite = "tests/integration/kubernetes/test_api_conformance.py"
    done = subprocess.run(
        [*command, suite], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
