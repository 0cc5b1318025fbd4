"""The commands that ask a running server, as users call them: what they print, and exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.admin import ADMIN_TOKEN, AdminRig, bookinfo
from tests.support.command_line import cells, run, served, without_ages
from tests.support.discovery import parsed, taken

NAME = "proxy-1.istio-system"
RESOURCE = "Kubernetes//Pod/bookinfo/reviews-v1-989btxwk2f-klvgw"
WORKLOADS = """\
NAMESPACE    POD NAME                        ADDRESS        NODE   WAYPOINT PROTOCOL
bookinfo     details-v1-fr2ccvpfg9-sstq8     10.201.240.43  node-1 None     HBONE
bookinfo     notsleep-v1-ckcp7gfdd9-qfj8k    10.150.118.78  node-1 None     HBONE
bookinfo     productpage-v1-f99lm9f9mb-2mfrn 10.212.54.131  node-1 None     HBONE
bookinfo     ratings-v1-bvxk2nmnx7-h4tfc     10.223.124.135 node-1 None     HBONE
bookinfo     reviews-v1-989btxwk2f-klvgw     10.184.93.6    node-2 None     HBONE
bookinfo     reviews-v2-m2zzw8pw8z-nmfp2     10.254.59.105  node-1 None     HBONE
bookinfo     reviews-v3-xrjvjt22dn-jmd6p     10.237.119.110 node-1 None     HBONE
bookinfo     sleep-v1-zt8h2c6swn-sdh9x       10.190.59.74   node-2 None     HBONE
bookinfo     waypoint-67nrfjkmkf-zlz8d       10.233.236.204 node-2 None     TCP
istio-system ztunnel-fbz87                   10.247.115.178 node-2 None     TCP
istio-system ztunnel-fnbtp                   10.216.78.161  node-1 None     TCP
"""
SERVICES = """\
NAMESPACE SERVICE NAME SERVICE VIP    WAYPOINT ENDPOINTS
bookinfo  details      10.99.5.214    None     1/1
bookinfo  notsleep     10.104.98.10   None     1/1
bookinfo  productpage  10.99.95.81    None     1/1
bookinfo  ratings      10.109.54.88   None     1/1
bookinfo  reviews      10.104.109.213 waypoint 3/3
bookinfo  reviews-v1   10.101.92.50   None     1/1
bookinfo  reviews-v2   10.109.159.92  None     1/1
bookinfo  sleep        10.110.32.122  None     1/1
bookinfo  waypoint     10.98.132.231  None     1/1
"""
POLICIES = """\
NAMESPACE    POLICY NAME                            ACTION SCOPE
bookinfo     istio_allow_waypoint_bookinfo_waypoint Allow  WorkloadSelector
bookinfo     productpage-callers                    Allow  WorkloadSelector
istio-system istio_converted_static_strict          Deny   WorkloadSelector
"""
CERTIFICATES = (
    "CERTIFICATE NAME     TYPE     STATUS     VALID CERT     SERIAL NUMBER     NOT AFTER"
    "     NOT BEFORE\n"
)
BROKEN = """\
apiVersion: v1
kind: Service
metadata: {name: odd, namespace: shop}
spec:
  ports: [{name: http, port: eighty}]
"""


@pytest.fixture
def rig() -> AdminRig:
    return bookinfo()


@pytest.fixture
def url(rig: AdminRig) -> Iterator[str]:
    with served(rig.application()) as url:
        yield url


def test_proxies_are_listed_by_name(url: str) -> None:
    result = run("proxy-status", server=url)
    assert result.exit_code == 0
    assert (
        result.stdout
        == """\
NAME                     CLUSTER        ISTIOD        VERSION     SUBSCRIBED TYPES
proxy-1.istio-system     Kubernetes     replica-1     1.30.0      2 (WADS,WDS)
proxy-1.istio-system     Kubernetes     replica-1     1.30.0      2 (WADS,WDS)
"""
    )
    assert result.stderr == ""
    assert run("ps", "--node", "node-1", server=url).stdout.count("proxy-1") == 1
    assert run("ps", "-n", "shop", server=url).stderr == "No proxies are connected.\n"


def test_proxies_are_listed_with_a_column_for_each_type(rig: AdminRig, url: str) -> None:
    rig.apply_text("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}}")
    late, odd = rig.sessions
    taken(late)
    rig.refuse(odd, f"{RESOURCE}: no")
    shown = run("ps", "-v", "1", server=url).stdout
    assert cells(without_ages(shown)) == [
        ["NAME", "CLUSTER", "WADS", "WDS", "ISTIOD", "VERSION"],
        [NAME, "Kubernetes", "SYNCED (AGE)", "STALE (AGE)", "replica-1", "1.30.0"],
        [NAME, "Kubernetes", "SYNCED (AGE)", "ERROR (AGE)", "replica-1", "1.30.0"],
    ]


def test_one_proxy_is_shown_with_what_it_refused(rig: AdminRig, url: str) -> None:
    assert rig.sessions
    rig.sessions.pop(0)
    odd = rig.connect("node-3", namespace="shop")
    rig.apply_text("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}}")
    rig.refuse(odd, "b/a.b.svc.cluster.local: \x1b[31mno")
    lines = without_ages(run("ps", "proxy-1.shop", server=url).stdout).splitlines()
    assert lines[:2] == ["Name:      proxy-1.shop", "State:     ERROR"]
    assert lines[9].startswith("Connected: 2026-01-01T")
    assert lines[11].split() == [
        *("TYPE", "STATE", "RESOURCES", "COMMIT", "SENT", "COMMIT", "ACKED", "BEHIND"),
        *("LAST", "SENT", "LAST", "ACKED"),
    ]
    assert lines[12].split()[:2] == ["WADS", "SYNCED"]
    assert lines[13].split()[:2] == ["WDS", "ERROR"]
    assert lines[15:] == [
        r"refused WDS AGE ago: b/a.b.svc.cluster.local: \x1b[31mno",
        "  b/a.b.svc.cluster.local (Service b/a)",
    ]


def test_documents_are_those_of_the_api(url: str) -> None:
    result = run("ps", "-o", "json", server=url)
    found = json.loads(result.stdout)
    assert [each["node"] for each in found] == ["node-1", "node-2"]
    assert result.stdout.startswith('[\n    {\n        "name"')
    assert yaml.safe_load(run("ps", "-o", "yaml", server=url).stdout)[0]["number"] == 1
    assert len(json.loads(run("ps", "proxy-1", "-o", "json", server=url).stdout)) == 2


def test_a_proxy_that_is_not_there_or_not_one_is_told(rig: AdminRig, url: str) -> None:
    result = run("ps", "nobody", server=url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "istiod-lite: no proxy called nobody is connected\n"
    rig.connect("node-3", namespace="shop")
    assert "proxy-1 is not one proxy but 2: proxy-1.istio-system, proxy-1.shop" in (
        run("ps", "proxy-1", server=url).stderr
    )


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (("workload", "w", "workloads"), WORKLOADS),
        (("service", "s", "svc", "services"), SERVICES),
        (("policy", "p", "pol", "policies"), POLICIES),
        (("certificate", "cert", "certs", "certificates"), CERTIFICATES),
        (("all",), f"{WORKLOADS}\n{SERVICES}\n{POLICIES}\n{CERTIFICATES}"),
    ],
)
def test_what_a_node_is_sent_is_shown_in_the_tables_known(
    url: str, names: tuple[str, ...], table: str
) -> None:
    for name in names:
        result = run("ztunnel-config", name, "--node", "node-1", server=url)
        assert (result.exit_code, result.stdout, result.stderr) == (0, table, "")
    assert run("zc", names[0], "proxy-1", "--node", "node-1", server=url).exit_code == 2


def test_a_dump_that_was_kept_shows_the_same_without_a_server(url: str, tmp_path: Path) -> None:
    kept = tmp_path / "dump.json"
    kept.write_text(run("zc", "all", "--node", "node-1", "-o", "json", server=url).stdout)
    assert run("zc", "w", "-f", str(kept)).stdout == WORKLOADS
    assert run("zc", "svc", "-f", "-", stdin=kept.read_text()).stdout == SERVICES
    whole = run("zc", "all", "--with-headers", "-f", str(kept)).stdout
    assert whole.splitlines()[0] == "------ WORKLOAD INFO ------"
    assert "------ SECRET INFO ------" in whole
    as_yaml = run("zc", "all", "--node", "node-1", "-o", "yaml", server=url).stdout
    assert yaml.safe_load(as_yaml) == json.loads(kept.read_text())


def test_elements_are_picked_by_address_namespace_and_node(url: str) -> None:
    def picked(part: str, *options: str) -> list[str]:
        result = run("zc", part, "--node", "node-1", "-o", "json", *options, server=url)
        return [each["name"] for each in json.loads(result.stdout)]

    assert picked("w", "--address", "10.190.59.74") == ["sleep-v1-zt8h2c6swn-sdh9x"]
    assert picked("w", "--address", "10.1.1.1") == picked("w", "--address", "nonsense") == []
    assert picked("w", "--workload-namespace", "istio-system", "--workload-node", "node-2") == [
        "ztunnel-fbz87"
    ]
    assert picked("svc", "--service-namespace", "shop") == []
    assert picked("pol", "--policy-namespace", "bookinfo") == [
        "istio_allow_waypoint_bookinfo_waypoint",
        "productpage-callers",
    ]


def test_without_a_node_it_is_the_first_that_is_connected(rig: AdminRig, url: str) -> None:
    result = run("zc", "pol", server=url)
    assert result.stdout == POLICIES
    assert result.stderr == "istiod-lite: node node-1, one of 2: see --node\n"
    rig.connect("node-2", namespace="shop")
    other = run("zc", "pol", "proxy-1.shop", server=url)
    assert "productpage-callers" not in other.stdout
    assert "istio_converted_static_strict" in other.stdout
    missing = run("zc", "w", "--node", "node-9", server=url)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "'node-9'" in missing.stderr


def test_analysis_of_a_server_is_that_of_its_files(rig: AdminRig, url: str, tmp_path: Path) -> None:
    assert run("analyze", server=url).stderr == "✔ Nothing found.\n"
    rig.apply_text(BROKEN, "broken.yaml")
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    offline = run("analyze", str(file))
    online = run("analyze", "-A", server=url)
    assert online.exit_code == offline.exit_code == 79
    assert online.stdout == offline.stdout.replace(str(tmp_path) + "/", "")
    assert "[IL0102] (Service shop/odd broken.yaml:5)" in online.stdout
    assert run("analyze", "-n", "other", server=url).exit_code == 0
    assert run("analyze", "-S", "IL0102=Service odd.shop", server=url).exit_code == 0
    assert json.loads(run("analyze", "-o", "json", server=url).stdout)[0]["code"] == "IL0102"
    assert run("analyze", "-A", "-n", "other", server=url).exit_code == 2


def test_waiting_ends_when_everybody_has_it(rig: AdminRig, url: str) -> None:
    result = run("wait", "--for", "distribution", "Service", "reviews.bookinfo", server=url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "✔ commit 1 is everywhere: 2 concerned, all have it\n"
    rig.apply_text("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}}")
    rig.settle()
    assert "commit 2 is everywhere" in run("wait", server=url).stdout
    told = json.loads(run("wait", "--commit", "2", "-o", "json", server=url).stdout)
    assert (told["is_converged"], told["progress"]["acknowledged"]) == (True, 2)


def test_waiting_in_vain_tells_who_is_missing(rig: AdminRig, url: str) -> None:
    rig.apply_text("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}}")
    late, odd = rig.sessions
    assert parsed(taken(late)[0]).resources
    rig.refuse(odd, "b/a.b.svc.cluster.local: no")
    result = run("wait", "service", "a.b", "--timeout", "1s", server=url)
    assert result.exit_code == 1
    assert (
        result.stdout
        == """\
NAME                   NODE     WHY
proxy-1.istio-system   node-1   sent, not acknowledged
proxy-1.istio-system   node-2   refused (Service b/a): b/a.b.svc.cluster.local: no
"""
    )
    assert result.stderr == (
        "istiod-lite: commit 2 is not everywhere after 1 seconds: 1 of 2 connections refused it\n"
    )
    absent = run("wait", "--commit", "1", "--node", "node-9", "--timeout", "0", server=url)
    assert absent.exit_code == 1
    assert absent.stdout.splitlines()[1].split() == ["NA", "node-9", "not", "connected"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("Sevice", "a.b"),
        ("Service",),
        ("Service", "a"),
        ("Service", "a.b", "--commit", "3"),
        ("--commit", "-1"),
        ("--timeout", "soon"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(url: str, arguments: tuple[str, ...]) -> None:
    assert run("wait", *arguments, server=url).exit_code == 2


def test_an_object_that_never_was_is_not_everywhere(url: str) -> None:
    result = run("wait", "Service", "revews.bookinfo", server=url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no Service bookinfo/revews" in result.stderr


def test_who_is_not_trusted_needs_a_token(rig: AdminRig, tmp_path: Path) -> None:
    access = type(rig.access)(root_namespaces=lambda: {"istio-system"}, trusts_loopback=False)
    rig.access = access
    token = tmp_path / "token"
    with served(rig.application()) as url:
        for arguments in (("ps",), ("zc", "w"), ("analyze",), ("wait",)):
            refused = run(*arguments, server=url)
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert "--token" in refused.stderr
            token.write_text(f"{ADMIN_TOKEN}\n")
            given = run(*arguments, "--token-file", str(token), server=url)
            assert given.exit_code == 0, given.stderr


def test_a_server_that_is_not_there_is_named_in_one_sentence() -> None:
    for arguments in (("ps",), ("zc", "w"), ("analyze",), ("wait",)):
        result = run(*arguments, "--server", "http://127.0.0.1:1")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("istiod-lite: nobody answers at http://127.0.0.1:1: ")
        assert result.stderr.count("\n") == 1


def test_the_level_of_logs_is_shown_and_changed(rig: AdminRig, url: str) -> None:
    assert run("log-level", server=url).stdout == "info\n"
    changed = run("log-level", "debug", "-o", "json", server=url)
    assert (changed.exit_code, json.loads(changed.stdout)) == (0, {"level": "debug"})
    assert rig.log_level.told == [("debug", "this machine")]
    assert run("log-level", "trace", server=url).exit_code == 2
    assert run("log-level", server=url).stdout == "debug\n"


def test_who_is_refused_is_told_of_the_token_nearby(
    rig: AdminRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTIOD_LITE_DATA_DIR", str(tmp_path))
    access = type(rig.access)(root_namespaces=lambda: {"istio-system"}, trusts_loopback=False)
    rig.access = access
    with served(rig.application()) as url:
        assert "--token-file)" in run("log-level", server=url).stderr
        (tmp_path / "admin-token").write_text(f"{ADMIN_TOKEN}\n")
        refused = run("log-level", server=url)
        assert refused.exit_code == 1
        assert f"as in --token-file {tmp_path / 'admin-token'})" in refused.stderr
        told = run("log-level", "--token-file", str(tmp_path / "admin-token"), server=url)
    assert told.stdout == "info\n"
