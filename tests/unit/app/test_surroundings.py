from pathlib import Path
from typing import Any

import pytest

from controlplane.app.errors import StartupError
from controlplane.app.surroundings import (
    at_port,
    chosen_cluster,
    listening_host,
    require_possible,
)
from controlplane.cluster.api_server import ClusterLocation
from controlplane.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with a kubeconfig in it, and nothing that speaks of a cluster."""
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.proves("RP-1")
def test_a_pod_finds_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    found = chosen_cluster(Settings())
    assert found is not None
    assert found.is_in_pod


@pytest.mark.proves("RP-1")
def test_a_kubeconfig_that_is_named_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / ".kube" / "config"
    assert chosen_cluster(Settings(kubeconfig=path)) == ClusterLocation(kubeconfig=path)
    assert chosen_cluster(Settings(context="prod")) == ClusterLocation(context="prod")
    monkeypatch.setenv("KUBECONFIG", str(path))
    found = chosen_cluster(Settings())
    assert found is not None
    assert found.files() == (path,)


@pytest.mark.refutes("RP-1")
def test_a_kubeconfig_in_the_home_directory_alone_is_nobodys_wish() -> None:
    assert chosen_cluster(Settings()) is None
    assert chosen_cluster(Settings(cluster="required")) == ClusterLocation()


@pytest.mark.refutes("RP-1", "RP-2")
def test_a_folder_means_no_cluster_even_in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    assert chosen_cluster(Settings(files=Path("mesh"))) is None
    assert chosen_cluster(Settings(cluster="none")) is None
    monkeypatch.setenv("ISTIOD_LITE_FILES", "mesh")
    assert chosen_cluster(Settings()) is None


@pytest.mark.proves("RP-2")
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"files": Path("mesh"), "kubeconfig": Path("config")}, "not both"),
        ({"files": Path("mesh"), "cluster": "required"}, "not both"),
        ({"context": "prod", "cluster": "none"}, "says none"),
        ({"kubeconfig": Path("missing")}, "there is no missing"),
    ],
)
def test_what_contradicts_itself_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StartupError, match=sentence):
        chosen_cluster(Settings(**settings))


@pytest.mark.proves("RP-2")
def test_a_required_cluster_that_is_not_there_is_missed(home: Path) -> None:
    (home / ".kube" / "config").unlink()
    with pytest.raises(StartupError, match="no cluster is found"):
        chosen_cluster(Settings(cluster="required"))


@pytest.mark.proves("RP-3")
def test_replicas_need_a_database_they_can_share() -> None:
    with pytest.raises(StartupError, match="set ISTIOD_LITE_DATABASE_URL to a postgresql://"):
        require_possible(Settings(replicas=2), in_cluster=True)
    with pytest.raises(StartupError, match="2 replicas cannot share a SQLite"):
        require_possible(Settings(replicas=2, database_url="sqlite:///a.db"), in_cluster=False)


@pytest.mark.proves("RP-3")
def test_no_passphrase_protects_a_secret() -> None:
    with pytest.raises(StartupError, match="unset ISTIOD_LITE_KEY_PASSPHRASE_FILE"):
        require_possible(Settings(key_passphrase_file=Path("p")), in_cluster=True)


@pytest.mark.refutes("RP-3")
def test_what_fits_together_is_served() -> None:
    require_possible(Settings(), in_cluster=True)
    require_possible(Settings(key_passphrase_file=Path("p")), in_cluster=False)
    shared = "postgresql://istiod@db/istiod"
    require_possible(Settings(replicas=3, database_url=shared), in_cluster=True)


def test_a_database_nobody_knows_is_named() -> None:
    with pytest.raises(StartupError, match="mysql"):
        require_possible(Settings(database_url="mysql://db/x"), in_cluster=True)


@pytest.mark.proves("RP-4")
def test_without_a_cluster_only_this_machine_is_served() -> None:
    assert listening_host(Settings(), in_cluster=False) == "127.0.0.1"
    assert listening_host(Settings(bind_address="::1"), in_cluster=False) == "::1"
    with pytest.raises(StartupError, match="not a loopback address"):
        listening_host(Settings(bind_address="::"), in_cluster=False)
    with pytest.raises(StartupError, match="not an IP address"):
        listening_host(Settings(bind_address="everywhere"), in_cluster=True)


@pytest.mark.refutes("RP-4")
def test_in_a_cluster_everybody_is() -> None:
    assert listening_host(Settings(), in_cluster=True) in {"::", "0.0.0.0"}  # noqa: S104
    assert listening_host(Settings(bind_address="10.0.0.7"), in_cluster=True) == "10.0.0.7"


@pytest.mark.proves("RP-4")
def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError("address family not supported")

    monkeypatch.setattr("socket.create_server", none)
    assert listening_host(Settings(), in_cluster=True) == "0.0.0.0"  # noqa: S104


def test_addresses_of_both_families_are_written_as_urls_are() -> None:
    assert (at_port("::", 1), at_port("10.0.0.1", 2)) == ("[::]:1", "10.0.0.1:2")
