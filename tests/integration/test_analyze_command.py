"""``istiod-lite analyze`` as users call it, on files."""

import json
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from controlplane.cli.main import application

EXAMPLES = Path(__file__).parents[2] / "examples"
BROKEN = """\
apiVersion: v1
kind: Service
metadata: {name: odd, namespace: shop}
spec:
  ports: [{name: http, port: eighty}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get, namespace: shop}
spec:
  rules: [{to: [{operation: {methods: [GET]}}]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: other}
"""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ISTIOD_LITE_") or name in {"CLUSTER_ID", "REVISION", "POD_NAMESPACE"}:
            monkeypatch.delenv(name)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("broken.yaml")
    path.write_text(BROKEN)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application, ["analyze", *map(str, arguments)])


def test_findings_are_lines_and_an_error_is_79(broken: Path) -> None:
    result = run(broken)
    lines = result.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["Error", "Warning", "Info"]
    assert "[IL0102] (Service shop/odd broken.yaml:5) spec.ports[0].port: " in lines[0]
    assert "[IL0502] (AuthorizationPolicy shop/get broken.yaml:7) spec.rules" in lines[1]
    assert result.exit_code == 79


@pytest.mark.parametrize("folder", ["bookinfo", "waypoints"])
def test_what_is_fine_says_so_beside_the_output(folder: str) -> None:
    result = run(EXAMPLES / folder)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "✔ Nothing found.\n")


def test_findings_below_the_thresholds_are_not_told_and_do_not_fail(broken: Path) -> None:
    assert run(broken, "-S", "IL0102=*", "-S", "IL0502=*").exit_code == 0
    assert run(broken, "-S", "IL0[15]02=*", "--failure-threshold", "info").exit_code == 79
    told = run(broken, "--output-threshold", "error").stdout
    assert "Error" in told
    assert "Info" not in told


def test_one_namespace(broken: Path) -> None:
    assert "Job" in run(broken, "-n", "other").stdout
    assert "shop" not in run(broken, "-n", "other").stdout


def test_documents_carry_everything_and_do_not_fail(broken: Path) -> None:
    result = run(broken, "-o", "json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found[0]["place"] == "broken.yaml:5"
    assert found[0]["field"] == "spec.ports[0].port"
    assert found == yaml.safe_load(run(broken, "-o", "yaml").stdout)


def test_advice_is_below_its_finding(broken: Path) -> None:
    lines = run(broken, "--explain").stdout.splitlines()
    assert lines[1].startswith("    Correct the field named")


def test_a_suppression_that_says_nothing_is_refused(broken: Path) -> None:
    result = run(broken, "-S", "IL0102")
    assert result.exit_code == 2
    assert "CODE=Kind name.namespace" in " ".join(result.stderr.split())


def test_every_object_of_the_examples_is_in_force() -> None:
    result = CliRunner().invoke(application, ["snapshot", str(EXAMPLES / "waypoints"), "--strict"])
    assert result.exit_code == 0, result.output
    head, *rows = result.stdout[result.stdout.index("OBJECT ") :].splitlines()
    status = head.index("STATUS")
    assert {row[status:].split()[0] for row in rows} == {"True"}
    told = {row.split()[0] for row in rows}
    assert told == {
        "AuthorizationPolicy",
        "BackendTLSPolicy",
        "HTTPRoute",
        "RequestAuthentication",
        "Service",
        "TCPRoute",
    }
