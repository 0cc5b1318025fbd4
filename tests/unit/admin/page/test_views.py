"""Views without a browser: what they say, to whom, and that nothing in them is markup."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import unescape

import pytest
import typer
from fastapi.routing import iter_route_contexts

from controlplane.admin.page.map_facts import map_facts
from controlplane.admin.page.map_values import BoxKind, FlowKind
from controlplane.admin.page.page import web_page
from controlplane.admin.rules import rule_of
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.cli.main import application as command_line
from controlplane.encode.envelope import CLUSTER_TYPE
from controlplane.model.connection import Connection, TypeProgress
from controlplane.store.connections import FleetView
from tests.support.admin import AdminRig, a_client, bookinfo

HOSTILE = "\"'><img src=x onerror=alert(1)>"
TILL = """\
apiVersion: v1
kind: Namespace
metadata: {name: till, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Service
metadata: {name: secret-till, namespace: till}
spec: {ports: [{port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: secret-rule, namespace: till}
spec: {action: ALLOW, rules: [{from: [{source: {namespaces: [bookinfo]}}]}]}
"""


def _rules(rig: AdminRig) -> dict[str, str | None]:
    routes = iter_route_contexts(web_page(rig.view, version="1").routes.routes)
    return {route.path: rule_of(route) for route in routes if route.path}


def _paths(rig: AdminRig) -> list[str]:
    uid = min(uid for uid, _ in rig.pipeline.world.workloads.items())
    examples = {
        "/connections/{replica}/{number}": "/connections/replica-1/1",
        "/changes/{number}": "/changes/1",
        "/nodes/{name}": "/nodes/node-1",
        "/workloads/{uid:path}": f"/workloads/{uid}",
        "/services/{namespace}/{hostname}": "/services/bookinfo/reviews.bookinfo.svc.cluster.local",
        "/policies/{namespace}/{name}": "/policies/bookinfo/productpage-callers",
        "/waypoints/{namespace}/{name}": "/waypoints/bookinfo/waypoint",
    }
    return [examples.get(path, path) for path in _rules(rig) if path != "/page/live"]


async def _get(rig: AdminRig, path: str, *, token: str = "") -> tuple[int, str, dict[str, str]]:
    page = web_page(rig.view, version="1.2.3")
    async with a_client(rig.application(pages=(page.routes,)), token=token) as client:
        response = await client.get(path)
    return response.status_code, response.text, dict(response.headers)


async def test_every_view_answers_and_allows_nothing_but_its_own_files() -> None:
    rig = bookinfo()
    for path in _paths(rig):
        status, text, headers = await _get(rig, path)
        assert status == 200, path
        if path.startswith("/page/"):
            assert "immutable" in headers["cache-control"]
            continue
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';"), path
        assert "unsafe" not in policy
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|https?://", text), path
        assert re.findall(r"<script[^>]*>", text) == re.findall(
            r'<script src="/page/page\.js\?v=\w+" defer>', text
        )


def test_every_route_says_who_may_ask() -> None:
    rules = _rules(bookinfo())
    opened = {path for path, rule in rules.items() if rule == "open"}
    assert opened == {"/page/page.css", "/page/page.js", "/page/icon.svg"}
    assert {rule for path, rule in rules.items() if path not in opened} == {"viewer"}


@pytest.mark.parametrize("path", ["/", "/map", "/services", "/policies", "/changes", "/problems"])
async def test_a_namespace_sees_nothing_of_another(path: str) -> None:
    rig = bookinfo()
    rig.apply_text(TILL)
    assert "secret" in (await _get(rig, path))[1] or path in ("/", "/problems")
    status, text, _ = await _get(rig, path, token="bookinfo/default")
    assert status == 200
    assert "secret" not in text
    assert "till" not in text


async def test_what_may_not_be_seen_is_not_there() -> None:
    rig = bookinfo()
    rig.apply_text(TILL)
    for path in ("/services/till/secret-till.till.svc.cluster.local", "/policies/till/secret-rule"):
        assert (await _get(rig, path))[0] == 200
        status, text, _ = await _get(rig, path, token="bookinfo/default")
        assert status == 404
        assert "<h1>Not here</h1>" in text
    assert (await _get(rig, "/", token="nobody"))[0] == 401


async def test_names_and_sentences_are_only_text() -> None:
    rig = bookinfo()
    session = rig.connect(HOSTILE)
    rig.apply_text(TILL)
    rig.refuse(session, HOSTILE)
    rig.apply_text(f"kind: {HOSTILE}\n: [", file=HOSTILE)
    for path in (
        "/",
        "/connections",
        "/nodes",
        "/problems",
        "/changes",
        f"/services?name={HOSTILE}",
    ):
        _, text, _ = await _get(rig, path)
        assert "<img" not in text, path
        assert "onerror=alert(1)&gt;" in text or path == "/changes", path


async def test_what_steers_terminals_and_turns_lines_is_told_as_codes() -> None:
    rig = bookinfo()
    rig.refuse(rig.connect("a\x1b[31m\u202eb"), "no\x07\u2066t")
    for path in ("/", "/connections", "/connections/replica-1/1", "/nodes"):
        _, text, _ = await _get(rig, path)
        assert not set(text) & set("\x1b\x07\u202e\u2066"), path
    assert "a\\u001b[31m\\u202eb" in (await _get(rig, "/connections"))[1]


async def test_a_copied_command_runs_nothing_else() -> None:
    rig = bookinfo()
    for namespace in ("x; touch /tmp/y", "$(id)", "it's", "two\nlines", "\x1b]0;x\x07", "`id`"):
        rig.connect(namespace=namespace)
    for number in range(1, 7):
        _, text, _ = await _get(rig, f"/connections/replica-1/{number}")
        (command,) = re.findall(r'data-copy="([^"]+)"', text)
        command = unescape(command)
        assert command.isprintable()
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        assert len(list(lexer)) == 3, command
        assert "$" not in re.sub(r"'[^']*'", "", command)
        assert "`" not in re.sub(r"'[^']*'", "", command)
    _, text, _ = await _get(rig, "/workloads?namespace=%3Breboot")
    assert "--workload-namespace=';reboot'" in unescape(text)


async def test_errors_are_pages() -> None:
    rig = bookinfo()
    for path, status in (
        ("/nodes/nowhere", 404),
        ("/workloads?after=nonsense", 400),
        ("/workloads?limit=0", 422),
        ("/changes/99999", 404),
    ):
        found, text, headers = await _get(rig, path)
        assert found == status, path
        assert headers["content-type"].startswith("text/html")
        assert "<h1>Not" in text


async def test_pages_of_lists_follow_each_other() -> None:
    rig = bookinfo()
    seen, path = [], "/workloads?limit=4"
    for _ in range(5):
        text = (await _get(rig, path))[1]
        seen += re.findall(r'<a href="/workloads/([^"]+)"', text)
        onwards = re.search(r'rel="next" href="([^"]+)"', text)
        if onwards is None:
            break
        path = onwards[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 11


async def test_every_command_shown_is_one_that_exists() -> None:
    rig = bookinfo()
    root = typer.main.get_command(command_line)
    commands = set()
    for path in _paths(rig):
        commands |= set(re.findall(r'data-copy="([^"]+)"', (await _get(rig, path))[1]))
    assert len(commands) > 10
    for text in commands:
        words = shlex.split(text)
        assert words[0] == "istiod-lite"
        command, left = root, words[1:]
        while left and left[0] in getattr(command, "commands", {}):
            command = command.commands[left.pop(0)]  # type: ignore[attr-defined]
        with command.make_context(text, left, resilient_parsing=False):
            assert not hasattr(command, "commands"), text


@dataclass
class _Elsewhere:
    """Connections of another replica."""

    connections: tuple[Connection, ...]

    async def everywhere(self, own: Sequence[Connection]) -> FleetView:
        return FleetView(connections=(*own, *self.connections))


async def test_a_waypoint_is_shown_with_what_its_pods_refused() -> None:
    rig = bookinfo()
    (pod,) = (
        each.name
        for _, each in rig.pipeline.world.residents.items()
        if each.namespace == "bookinfo" and each.gateway == "waypoint"
    )
    one = next(iter(rig.fleet.each()))
    refused = TypeProgress(
        type_url=CLUSTER_TYPE,
        last_error="<b>no such cluster</b>",
        last_error_at=rig.clock.now(),
        rejected=("inbound-vip|9080|http|reviews.bookinfo.svc.cluster.local",),
    )
    rig.knowledge.others = _Elsewhere(
        (replace(one, replica="replica-2", namespace="bookinfo", pod=pod, types=(refused,)),)
    )
    status, text, _ = await _get(rig, "/waypoints/bookinfo/waypoint")
    assert status == 200
    assert pod in unescape(text.replace("<wbr>", ""))
    assert "&lt;b&gt;no such cluster&lt;/b&gt;" in text
    assert "from Service bookinfo/reviews" in text


async def test_the_map_tells_who_may_call() -> None:
    rig = bookinfo()
    facts = await map_facts(rig.view, EVERYTHING)
    boxes = {box.key: box for box in facts.boxes}
    product = "service bookinfo/productpage.bookinfo.svc.cluster.local"
    assert boxes[product].note == "1 caller allowed"
    assert boxes[product].amount == "1/1"
    flows = {(flow.source, flow.target, flow.kind) for flow in facts.flows}
    assert flows == {
        ("service bookinfo/sleep.bookinfo.svc.cluster.local", product, FlowKind.ALLOW),
        (
            "service bookinfo/reviews.bookinfo.svc.cluster.local",
            "waypoint bookinfo/waypoint",
            FlowKind.THROUGH,
        ),
        *(
            (
                "waypoint bookinfo/waypoint",
                f"service bookinfo/{name}.bookinfo.svc.cluster.local",
                FlowKind.ALLOW,
            )
            for name in ("reviews", "reviews-v1", "reviews-v2")
        ),
    }


async def test_the_map_draws_callers_that_are_no_service() -> None:
    rig = bookinfo()
    rig.apply_text(
        """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ratings-callers, namespace: bookinfo}
spec:
  selector: {matchLabels: {app: ratings}}
  action: ALLOW
  rules:
    - from:
        - source:
            principals: [cluster.local/ns/bookinfo/sa/batch, cluster.local/ns/far/sa/away, "*/sa/x"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-batch, namespace: bookinfo}
spec:
  selector: {matchLabels: {app: details}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/bookinfo/sa/batch]}}]}]
"""
    )
    facts = await map_facts(rig.view, EVERYTHING)
    kinds = {box.key: (box.kind, box.group) for box in facts.boxes}
    assert kinds["account bookinfo/batch"] == (BoxKind.ACCOUNT, "bookinfo")
    assert kinds["account far/away"] == (BoxKind.OUTSIDE, "outside")
    assert kinds["caller */sa/x"] == (BoxKind.OUTSIDE, "outside")
    details = "service bookinfo/details.bookinfo.svc.cluster.local"
    assert ("account bookinfo/batch", details, FlowKind.DENY) in {tuple(f) for f in facts.flows}


@pytest.mark.parametrize(("count", "boxes"), [(24, 24), (25, 1)])
async def test_many_callers_from_elsewhere_are_told_by_namespace(count: int, boxes: int) -> None:
    rig = bookinfo()
    names = ", ".join(f"cluster.local/ns/far/sa/a{number}" for number in range(count))
    rig.apply_text(
        f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: many, namespace: bookinfo}}
spec:
  selector: {{matchLabels: {{app: ratings}}}}
  rules: [{{from: [{{source: {{principals: [{names}]}}}}]}}]
"""
    )
    facts = await map_facts(rig.view, EVERYTHING)
    assert sum(box.kind is BoxKind.OUTSIDE for box in facts.boxes) == boxes


async def test_the_map_of_a_namespace_shows_no_other() -> None:
    rig = bookinfo()
    rig.apply_text(TILL)
    whole = await map_facts(rig.view, EVERYTHING)
    assert {each.service.namespace for each in whole.services} == {"bookinfo", "till"}
    for viewer, namespace in (
        (EVERYTHING, "bookinfo"),
        (Viewer(name="somebody", namespace="bookinfo"), ""),
    ):
        facts = await map_facts(rig.view, viewer, namespace)
        assert {each.service.namespace for each in facts.services} == {"bookinfo"}
        assert "till" not in str(facts.boxes)
