"""``istiod-lite waypoint`` as users call it, against a double of the API server."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from controlplane.cli.main import application
from tests.support.kubernetes_objects import Json
from tests.support.kubernetes_thread import ThreadedApi, a_kubeconfig, api_on_a_thread

WAYPOINT = ("shop", "waypoint")
NO_GATEWAYS = (
    "istiod-lite: the cluster has no Gateways: install the definitions of the Gateway API"
    " (gateway.networking.k8s.io/v1)\n"
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedApi]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with api_on_a_thread() as threaded:
        config = a_kubeconfig(tmp_path / "kubeconfig", threaded.api.url, namespace="shop")
        monkeypatch.setenv("KUBECONFIG", str(config))
        for name in ("shop", "other"):
            threaded.put(a_namespace(name, **{"istio.io/dataplane-mode": "ambient"}))
        yield threaded


def run(*arguments: str) -> Result:
    return CliRunner().invoke(application, ["waypoint", *arguments])


def a_namespace(name: str, **labels: str) -> Json:
    return {"kind": "Namespace", "metadata": {"name": name, "namespace": "", "labels": labels}}


def a_gateway(
    namespace: str,
    name: str,
    *conditions: Json,
    gateway_class: str = "istio-waypoint",
    **labels: str,
) -> Json:
    return {
        "kind": "Gateway",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"gatewayClassName": gateway_class},
        "status": {"conditions": list(conditions)},
    }


def a_condition(kind: str, status: str, *, message: str = "", generation: int = 1) -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": "Because",
        "message": message,
        "observedGeneration": generation,
    }


def found(cluster: ThreadedApi, plural: str, namespace: str, name: str) -> Any:
    return cluster.api.objects.get(plural, (namespace, name))


def test_generate_asks_no_cluster_and_prints_what_kubectl_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/there/is/none")
    result = run("generate", "--for", "all", "-n", "shop", "--revision", "1-24", "--name", "front")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "apiVersion: gateway.networking.k8s.io/v1\n"
        "kind: Gateway\n"
        "metadata:\n"
        "  name: front\n"
        "  namespace: shop\n"
        "  labels:\n"
        "    istio.io/waypoint-for: all\n"
        "    istio.io/rev: 1-24\n"
        "spec:\n"
        "  gatewayClassName: istio-waypoint\n"
        "  listeners:\n"
        "  - name: mesh\n"
        "    port: 15008\n"
        "    protocol: HBONE\n"
    )
    plain = run("generate")
    assert yaml.safe_load(plain.stdout)["metadata"] == {"name": "waypoint"}
    assert json.loads(run("generate", "-o", "json").stdout) == yaml.safe_load(plain.stdout)


def test_what_is_applied_is_what_is_generated_and_either_command_may_change_it(
    cluster: ThreadedApi,
) -> None:
    result = run("apply", "--for", "workload")
    assert (result.exit_code, result.stdout) == (0, "✔ waypoint shop/waypoint applied\n")
    generated = yaml.safe_load(run("generate", "--for", "workload", "-n", "shop").stdout)
    made = found(cluster, "gateways", *WAYPOINT)
    assert made["spec"] == generated["spec"]
    assert made["metadata"]["labels"] == {"istio.io/waypoint-for": "workload"}
    assert [each["manager"] for each in made["metadata"]["managedFields"]] == ["istioctl"]
    assert run("apply").exit_code == 0
    assert not found(cluster, "gateways", *WAYPOINT)["metadata"].get("labels")
    # In the namespace of another context.
    assert run("apply", "--context", "elsewhere").stdout == "✔ waypoint other/waypoint applied\n"


def test_a_gateway_of_another_class_is_not_made_a_waypoint(cluster: ThreadedApi) -> None:
    cluster.put(a_gateway("shop", "waypoint", gateway_class="nginx"))
    for command in (("apply",), ("delete", "waypoint")):
        result = run(*command)
        assert result.exit_code == 1
        assert result.stderr == (
            "istiod-lite: gateway shop/waypoint is of class nginx, not a waypoint\n"
        )
    assert found(cluster, "gateways", *WAYPOINT)["spec"] == {"gatewayClassName": "nginx"}


def test_a_namespace_is_enrolled_and_keeps_another_waypoint_unless_told(
    cluster: ThreadedApi,
) -> None:
    result = run("apply", "--enroll-namespace")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "✔ waypoint shop/waypoint applied\n✔ namespace shop uses waypoint waypoint\n"
    )
    assert result.stderr == ""
    again = run("apply", "--enroll-namespace")
    assert again.exit_code == 0
    refused = run("apply", "--enroll-namespace", "--name", "second")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "istiod-lite: namespace shop uses waypoint waypoint already; --overwrite changes that\n"
    )
    assert found(cluster, "gateways", "shop", "second") is None
    assert run("apply", "--enroll-namespace", "--name", "second", "--overwrite").exit_code == 0
    labels = found(cluster, "namespaces", "", "shop")["metadata"]["labels"]
    assert labels == {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "second"}
    assert run("apply", "--overwrite").exit_code == 2


def test_a_waypoint_of_another_namespace_is_another_one(cluster: ThreadedApi) -> None:
    used = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "infra"}
    cluster.put(a_namespace("shop", **used))
    refused = run("apply", "--enroll-namespace")
    assert "uses waypoint infra/waypoint already" in refused.stderr
    result = run("apply", "--enroll-namespace", "--overwrite")
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "⚠ namespace shop is not in the mesh, so nothing goes through the waypoint:"
        " kubectl label namespace shop istio.io/dataplane-mode=ambient\n"
    )
    labels = found(cluster, "namespaces", "", "shop")["metadata"]["labels"]
    assert labels == {"istio.io/use-waypoint": "waypoint"}


def test_a_list_shows_waypoints_alone(cluster: ThreadedApi) -> None:
    assert run("list").stderr == "No waypoints found.\n"
    assert run("list", "-o", "json").stdout == "[]\n"
    cluster.put(a_gateway("shop", "waypoint", a_condition("Programmed", "True")))
    labels = {"istio.io/waypoint-for": "all", "istio.io/rev": "1-24"}
    cluster.put(a_gateway("shop", "back", a_condition("Programmed", "False"), **labels))
    cluster.put(a_gateway("shop", "ingress", gateway_class="istio"))
    outdated = a_condition("Programmed", "True", generation=0) | {"observedGeneration": 1}
    cluster.put(a_gateway("other", "waypoint", outdated))
    changed = a_gateway("other", "waypoint", outdated)
    changed["spec"]["listeners"] = []
    cluster.put(changed)
    assert run("list").stdout == (
        "NAME       REVISION   TRAFFIC TYPE   PROGRAMMED\n"
        "back       1-24       all            False\n"
        "waypoint   default    service        True\n"
    )
    assert run("list", "-A").stdout == (
        "NAMESPACE   NAME       REVISION   TRAFFIC TYPE   PROGRAMMED\n"
        "other       waypoint   default    service        Unknown\n"
        "shop        back       1-24       all            False\n"
        "shop        waypoint   default    service        True\n"
    )
    assert yaml.safe_load(run("list", "-o", "yaml", "-n", "other").stdout) == [
        {
            "namespace": "other",
            "name": "waypoint",
            "revision": "default",
            "trafficType": "service",
            "programmed": "Unknown",
        }
    ]


def test_a_long_list_is_asked_for_in_pages(cluster: ThreadedApi) -> None:
    def fill() -> None:
        for number in range(501):
            gateway = a_gateway("shop", f"w{number:03}")
            cluster.api.objects.write("gateways", ("shop", f"w{number:03}"), gateway)

    cluster.do(fill)
    assert len(run("list").stdout.splitlines()) == 502
    assert cluster.api.count("list", "gateways") == 2


def test_what_somebody_else_keeps_is_not_taken(cluster: ThreadedApi) -> None:
    gateway = a_gateway("shop", "waypoint", **{"istio.io/waypoint-for": "all"})
    kept = {
        "manager": "argocd",
        "operation": "Apply",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:istio.io/waypoint-for": {}}}},
    }
    gateway["metadata"]["managedFields"] = [kept]
    cluster.put(gateway)
    result = run("apply", "--for", "service")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "istiod-lite: cannot apply waypoint shop/waypoint: conflict with"
    )
    labels = found(cluster, "gateways", *WAYPOINT)["metadata"]["labels"]
    assert labels == {"istio.io/waypoint-for": "all"}


def test_status_shows_what_is_and_never_waits_unasked(cluster: ThreadedApi) -> None:
    cluster.put(a_gateway("shop", "new"))
    cluster.put(
        a_gateway(
            "shop",
            "waypoint",
            a_condition("Programmed", "False", message="No pod\nis ready"),
            a_condition("Accepted", "True", message="Resource accepted"),
        )
    )
    result = run("status")
    assert result.exit_code == 0
    assert result.stdout == (
        "NAME       STATUS    TYPE         REASON    MESSAGE\n"
        "new        Unknown   Programmed   Pending   Nobody has looked at it yet\n"
        "waypoint   True      Accepted     Because   Resource accepted\n"
        "waypoint   False     Programmed   Because   No pod is ready\n"
    )
    assert run("status", "new", "-A").stdout.splitlines()[1].startswith("shop        new")
    documents = json.loads(run("status", "waypoint", "-o", "json").stdout)
    assert [each["programmed"] for each in documents] == ["False"]
    assert documents[0]["conditions"][0]["type"] == "Accepted"
    assert run("status", "-n", "other").stderr == "No waypoints found.\n"
    missing = run("status", "nobody", "waypoint")
    assert (missing.exit_code, missing.stderr) == (1, "istiod-lite: there is no waypoint nobody\n")


def test_waiting_ends_when_it_works_or_when_time_is_up(cluster: ThreadedApi) -> None:
    late = run("apply", "--wait", "--wait-timeout", "0.1")
    assert late.exit_code == 3
    assert late.stderr == (
        "istiod-lite: waypoint shop/waypoint does not work after 0.1 seconds:"
        " nobody has looked at it yet\n"
    )
    assert run("status", "--wait", "--wait-timeout", "0.1").exit_code == 3
    programmed = a_gateway("shop", "waypoint", a_condition("Programmed", "True", generation=9))
    timer = threading.Timer(0.2, lambda: cluster.put(programmed))
    timer.start()
    waited = run("status", "--wait")
    timer.join()
    assert waited.exit_code == 0
    assert "True     Programmed" in waited.stdout


def test_delete_takes_away_what_it_can(cluster: ThreadedApi) -> None:
    for name in ("one", "two", "three"):
        cluster.put(a_gateway("shop", name))
    cluster.put(a_gateway("shop", "ingress", gateway_class="istio"))
    result = run("delete", "nobody", "two")
    assert result.exit_code == 1
    assert result.stdout == "✔ waypoint shop/two deleted\n"
    assert result.stderr == "istiod-lite: there is no waypoint shop/nobody\n"
    everything = run("delete", "--all")
    assert everything.exit_code == 0
    assert everything.stdout == ("✔ waypoint shop/one deleted\n✔ waypoint shop/three deleted\n")
    assert found(cluster, "gateways", "shop", "ingress") is not None
    assert run("delete", "--all").exit_code == 0
    assert run("delete").exit_code == 2
    assert run("delete", "one", "--all").exit_code == 2


def a_service(namespace: str, name: str, **labels: str) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}


def test_delete_tells_who_is_left_without_the_waypoint(cluster: ThreadedApi) -> None:
    uses = {"istio.io/use-waypoint": "one"}
    far = {**uses, "istio.io/use-waypoint-namespace": "shop"}
    for name in ("one", "two"):
        cluster.put(a_gateway("shop", name))
    cluster.put(a_namespace("shop", **uses))
    cluster.put(a_namespace("other", **uses))
    cluster.put(a_service("other", "far", **far))
    cluster.put(a_service("other", "elsewhere", **uses))
    cluster.put(a_service("shop", "near", **uses))
    cluster.put(a_service("shop", "none", **{"istio.io/use-waypoint": "none"}))
    cluster.put(a_service("shop", "silent"))
    unused = run("delete", "two")
    assert (unused.exit_code, unused.stderr) == (0, "")
    used = run("delete", "one")
    assert (used.exit_code, used.stdout) == (0, "✔ waypoint shop/one deleted\n")
    still = "still names waypoint shop/one, and has none while there is none: kubectl label"
    off = "istio.io/use-waypoint-"
    assert used.stderr.splitlines() == [
        f"⚠ namespace shop {still} namespace shop {off}",
        f"⚠ service other/far {still} service far -n other {off}",
        f"⚠ service shop/near {still} service near -n shop {off}",
    ]
    # Nobody is told of what was not taken away.
    assert run("delete", "one").stderr == "istiod-lite: there is no waypoint shop/one\n"


def test_delete_looks_where_it_may(cluster: ThreadedApi) -> None:
    uses = {"istio.io/use-waypoint": "one"}
    cluster.put(a_gateway("shop", "one"))
    cluster.put(a_service("shop", "near", **uses))
    cluster.api.fail("list", "services", 403)
    assert "service shop/near still names" in run("delete", "one").stderr
    cluster.put(a_gateway("shop", "one"))
    cluster.api.denied.add(("list", "services"))
    blind = run("delete", "one")
    assert (blind.exit_code, blind.stdout) == (0, "✔ waypoint shop/one deleted\n")
    assert blind.stderr.startswith("⚠ whether somebody still names what was deleted cannot be seen")


def test_delete_tells_of_twenty_and_counts_the_rest(cluster: ThreadedApi) -> None:
    cluster.put(a_gateway("shop", "one"))
    for number in range(25):
        cluster.put(a_service("shop", f"s-{number}", **{"istio.io/use-waypoint": "one"}))
    told = run("delete", "one").stderr.splitlines()
    assert len(told) == 21
    assert told[-1] == "⚠ and 5 more name waypoints that were deleted"


@pytest.mark.parametrize("name", ["../secrets/x", "a/b", "", "A", "-a"])
def test_what_names_no_object_reaches_no_path(cluster: ThreadedApi, name: str) -> None:
    before = len(cluster.api.asked)
    for arguments in (("delete", "--", name), ("apply", f"--name={name}"), ("list", "-n", name)):
        assert run(*arguments).exit_code == 2
    assert len(cluster.api.asked) == before


def test_what_is_wrong_is_said_in_one_sentence(
    cluster: ThreadedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("apply", "-n", "nowhere").stderr == "istiod-lite: there is no namespace nowhere\n"
    cluster.api.denied.update({("patch", "gateways"), ("list", "gateways")})
    refused = run("apply")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(
        "istiod-lite: cannot apply waypoint shop/waypoint: gateways.gateway.networking.k8s.io"
    )
    assert "cannot list resource" in run("list").stderr
    cluster.api.denied = {("get", "namespaces")}
    # Who may not read namespaces may order waypoints all the same.
    assert run("apply").exit_code == 0
    assert "cannot read namespace shop" in run("apply", "--enroll-namespace").stderr
    cluster.api.denied.clear()
    definition = ("", "gateways.gateway.networking.k8s.io")
    cluster.do(lambda: cluster.api.objects.delete("customresourcedefinitions", definition))
    for command in ("list", "status", "apply"):
        result = run(command)
        assert (result.exit_code, result.stderr) == (1, NO_GATEWAYS)
    assert run("list", "--context", "none").stderr == (
        'istiod-lite: the configuration has no context "none"\n'
    )
    missing = tmp_path / "missing"
    assert run("list", "--kubeconfig", str(missing)).stderr == (
        f"istiod-lite: no kubeconfig at {missing}\n"
    )
    broken = tmp_path / "broken"
    broken.write_text("{")
    assert run("list", "--kubeconfig", str(broken)).stderr.startswith(
        "istiod-lite: the configuration is unusable: "
    )
    cluster.wait(cluster.api.stop())
    monkeypatch.setenv("KUBECONFIG", str(a_kubeconfig(tmp_path / "k", cluster.api.url)))
    away = run("list")
    assert away.exit_code == 1
    assert away.stderr.startswith("istiod-lite: the API server cannot be reached: ")


def test_the_command_line_does_not_pay_for_a_cluster_it_does_not_ask() -> None:
    code = (
        "import sys, controlplane.cli.main as main\n"
        "main.application(['waypoint', 'generate'], standalone_mode=False)\n"
        "print([each for each in ('kubernetes', 'aiohttp') if each in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
