"""``istiod-lite snapshot`` as users call it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from controlplane.cli.main import application

ROOT = Path(__file__).parents[2]
BOOKINFO = ROOT / "examples" / "bookinfo"

BROKEN = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: odd, namespace: shop}
spec:
  ports: [{name: http, port: eighty}]
"""
COMMAND = "from controlplane.cli.main import main; main()"
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\n"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ISTIOD_LITE_") or name in {"CLUSTER_ID", "REVISION", "POD_NAMESPACE"}:
            monkeypatch.delenv(name)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application, ["snapshot", *map(str, arguments)])


def document(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == code, result.output
    loaded = json.loads(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


def names(found: dict[str, Any]) -> list[str]:
    return [resource["name"] for resource in found["resources"]]


def test_the_document_has_the_promised_shape() -> None:
    found = document(BOOKINFO)
    assert list(found) == ["resources", "problems", "conditions"]
    assert found["problems"] == []
    for resource in found["resources"]:
        assert list(resource) == ["name", "version", "resource"]
        assert resource["resource"]["@type"].startswith("type.googleapis.com/istio.")
    order = [(each["resource"]["@type"], each["name"]) for each in found["resources"]]
    assert order == sorted(order)
    types = {kind.rpartition(".")[2] for kind, _ in order}
    assert types == {"Address", "Authorization"}
    for condition in found["conditions"]:
        assert list(condition) == ["object", "type", "parent", "status", "reason", "message"]
        assert condition["status"] in {"True", "False"}
    (reviews,) = (
        each["resource"]["service"]
        for each in found["resources"]
        if each["name"] == "bookinfo/reviews.bookinfo.svc.cluster.local"
    )
    assert reviews["waypoint"]["hboneMtlsPort"] == 15008


def test_yaml_says_the_same_as_json() -> None:
    result = run(BOOKINFO, "-o", "yaml")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == document(BOOKINFO)


def test_the_bytes_are_stable_between_processes_and_file_orders(tmp_path: Path) -> None:
    copies = tmp_path / "mesh"
    copies.mkdir()
    for number, file in enumerate(sorted(BOOKINFO.glob("*.yaml"), reverse=True)):
        name = file.name if file.name.startswith("meshconfig") else f"{number}-{file.name}"
        shutil.copy(file, copies / name)
    here = run(BOOKINFO, "-o", "json").stdout_bytes
    elsewhere = subprocess.run(
        [sys.executable, "-c", COMMAND, "snapshot", str(copies), "-o", "json"],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C"},
    )
    assert elsewhere.stdout == here


def test_a_node_is_sent_all_addresses_and_its_own_policies() -> None:
    everything = document(BOOKINFO)
    first, second = (document(BOOKINFO, "--node", node) for node in ("node-1", "node-2"))
    policies = [
        {name for name in names(found) if name.count("/") == 1 and ".svc." not in name}
        for found in (everything, first, second)
    ]
    everywhere = {
        "bookinfo/istio_allow_waypoint_bookinfo_waypoint",
        "istio-system/istio_converted_static_strict",
    }
    assert policies[0] == everywhere | {"bookinfo/productpage-callers"}
    assert policies[1] == policies[0]
    assert policies[2] == everywhere
    addresses = [
        set(names(found)) - of
        for found, of in zip((everything, second), (policies[0], policies[2]), strict=True)
    ]
    assert addresses[0] == addresses[1]


def test_an_unknown_node_is_said_and_sent_what_everybody_is() -> None:
    result = run(BOOKINFO, "--node", "node-9", "--type", "authorization", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["resources"] == []
    assert "no workload runs on node node-9" in result.stderr


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("address", "istio.workload.Address"),
        ("workload", "istio.workload.Workload"),
        ("authorization", "istio.security.Authorization"),
    ],
)
def test_one_type_alone(kind: str, message: str) -> None:
    found = document(BOOKINFO, "--type", kind)
    types = {resource["resource"]["@type"] for resource in found["resources"]}
    assert types == {f"type.googleapis.com/{message}"}


def test_the_table_shows_what_users_know() -> None:
    result = run(BOOKINFO)
    assert result.exit_code == 0
    headers = [line for line in result.stdout.splitlines() if line.startswith("NAMESPACE")]
    assert [header.split()[1] for header in headers] == ["POD", "SERVICE", "POLICY"]
    assert "productpage-callers" in result.stdout


def test_problems_name_their_place_and_hold_nothing_up(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(BROKEN)
    found = document(file)
    assert names(found) == ["shop/web.shop.svc.cluster.local"]
    (problem,) = found["problems"]
    assert list(problem) == ["severity", "code", "message", "object", "file", "line"]
    assert problem["severity"] == "error"
    assert problem["object"] == "Service shop/odd"
    assert problem["file"] == str(file)
    assert problem["line"] == 12
    assert "spec.ports[0].port" in problem["message"]


def test_strict_fails_when_there_are_problems(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(BROKEN)
    assert run(file, "--strict").exit_code == 3
    assert document(file, "--strict", code=3) == document(file)


def test_strict_passes_good_manifests_and_kinds_that_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    assert run(BOOKINFO, tmp_path, "--strict").exit_code == 0
    (note,) = document(tmp_path)["problems"]
    assert note["severity"] == "info"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["/nowhere/at/all"],
        [BOOKINFO, "--type", "listener"],
        [BOOKINFO, "-o", "xml"],
    ],
)
def test_unusable_arguments_exit_with_2(arguments: list[str | Path]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("ISTIOD_LITE_POD_RANGE", "everywhere"), ("ISTIOD_LITE_XDS_PORT", "many")],
)
def test_unusable_settings_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    result = run(BOOKINFO)
    assert result.exit_code == 2
    assert result.stdout == ""
