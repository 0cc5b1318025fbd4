"""Who may ask what: every route of the whole application is walked, none is left out."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from controlplane.admin.debug.documents import HELP
from controlplane.admin.rules import rule_of
from controlplane.model.names import ObjectReference
from tests.support.admin import ADMIN_TOKEN, AdminRig, a_client, bookinfo
from tests.support.two_teams import OTHER, OWN, two_teams

KEY_MATERIAL = re.compile(r"PRIVATE KEY|ey[A-Za-z0-9_-]{10,}\.ey|Bearer\s|key_reference")


def _paths(application: FastAPI) -> list[str]:
    return [
        route.path
        for route in iter_route_contexts(application.routes)
        if route.path and "GET" in (route.methods or ())
    ]


def _filled(path: str, team: str, rig: AdminRig) -> Iterator[str]:
    """Yield a path with its parameters filled with things of one team."""
    host = f"{team}-shop.{team}.svc.cluster.local"
    numbers = [str(session.number) for session in rig.sessions]
    values = {
        "/api/v1/workloads/{uid:path}": [f"Kubernetes//Pod/{team}/{team}-shop-1"],
        "/api/v1/services/{namespace}/{hostname}": [f"{team}/{host}", f"{team}/{team}.example.com"],
        "/api/v1/policies/{namespace}/{name}": [f"{team}/{team}-callers"],
        "/api/v1/waypoints/{namespace}/{name}": [f"{team}/{team}-waypoint"],
        "/api/v1/waypoints/{namespace}/{name}/snapshot": [f"{team}/{team}-waypoint/snapshot"],
        "/api/v1/gateways/{namespace}/{name}": [f"{team}/{team}-waypoint"],
        "/api/v1/nodes/{node}": [f"node-{team}"],
        "/api/v1/nodes/{node}/dump": [f"node-{team}/dump"],
        "/api/v1/connections/{replica}/{number}": [f"replica-1/{number}" for number in numbers],
        "/api/v1/commits/{number}": ["1", "2"],
        "/debug/ztunnel/{node}": [f"node-{team}"],
        "/debug/{name}": [*HELP, f"config_dump?proxyID=proxy-1.{team}", f"syncz?namespace={team}"],
    }
    if "{" not in path:
        yield path
        return
    for value in values[path]:
        yield path.partition("{")[0] + quote(value, safe="/?=")


async def _walk(client: httpx.AsyncClient, rig: AdminRig, team: str) -> dict[str, httpx.Response]:
    """Return the answers of every route about things of a team."""
    found = {}
    for path in _paths(rig.application()):
        for filled in _filled(path, team, rig):
            found[filled] = await client.get(filled)
    return found


def test_every_route_declares_who_may_ask_it() -> None:
    rig = bookinfo()
    for application in (rig.application(), rig.health()):
        undeclared = [
            route.path
            for route in iter_route_contexts(application.routes)
            if rule_of(route) is None
        ]
        assert undeclared == []


def test_little_is_open_to_everybody() -> None:
    routes = iter_route_contexts(bookinfo().application().routes)
    assert sorted(str(route.path) for route in routes if rule_of(route) == "open") == [
        "/healthz",
        "/metrics",
        "/ready",
        "/version",
    ]


@pytest.mark.proves("AM-10", "AM-11")
async def test_a_namespace_sees_its_own_and_nothing_of_another() -> None:
    rig = two_teams()
    async with a_client(rig.application(), token=f"{OWN}/someone", peer="10.0.0.1") as client:
        about_own = await _walk(client, rig, OWN)
        about_other = await _walk(client, rig, OTHER)
    for path, answer in (about_own | about_other).items():
        assert answer.status_code in (200, 400, 403, 404), path
        if OTHER not in path:
            assert OTHER not in answer.text, path
        elif answer.status_code == 200:
            assert OTHER not in answer.text, path
            assert path.startswith("/debug/syncz"), path
    seen = {path for path, answer in about_own.items() if OWN in answer.text}
    lists = ("workloads", "services", "policies", "waypoints", "gateways", "problems")
    more = ("conditions", "nodes", "connections", "commits", "certificates")
    assert {f"/api/v1/{name}" for name in (*lists, *more)} <= seen
    assert {"/debug/ambientz", "/debug/configz", "/debug/endpointz", "/debug/syncz"} <= seen


@pytest.mark.refutes("AM-10", "AM-11")
async def test_the_root_namespace_sees_everything() -> None:
    rig = two_teams()
    for token in ("istio-system/anybody", ADMIN_TOKEN):
        async with a_client(rig.application(), token=token, peer="10.0.0.1") as client:
            answers = await _walk(client, rig, OTHER)
        refused = {path: answer.status_code for path, answer in answers.items() if answer.is_error}
        assert refused == {"/debug/config_dump": 400, "/api/v1/authorities": 404}
        hidden = {path for path, answer in answers.items() if OTHER not in answer.text}
        assert hidden == {
            "/api/v1/authorities",
            "/api/v1/commits/1",
            "/api/v1/connections/replica-1/1",
            "/api/v1/fleet",
            "/api/v1/graph",
            "/api/v1/log-level",
            "/api/v1/openapi.json",
            "/api/v1/viewer",
            "/debug",
            "/debug/config_dump",
            "/debug/list",
            "/debug/mesh",
            "/healthz",
            "/metrics",
            "/ready",
            "/version",
        }


@pytest.mark.proves("AM-12")
async def test_what_is_about_the_whole_mesh_is_refused_to_a_namespace() -> None:
    rig = two_teams()
    async with a_client(rig.application(), token=f"{OWN}/someone", peer="10.0.0.1") as client:
        for path in ("/api/v1/graph", "/api/v1/log-level", "/api/v1/authorities", "/debug/mesh"):
            answer = await client.get(path)
            assert answer.status_code == 403
            assert f"service account {OWN}/someone" in answer.json()["detail"]


@pytest.mark.refutes("AM-12")
async def test_what_is_about_the_whole_mesh_is_told_to_who_sees_it() -> None:
    rig = two_teams()
    async with a_client(rig.application()) as client:
        for path in ("/api/v1/graph", "/debug/mesh"):
            assert (await client.get(path)).status_code == 200


async def test_a_namespace_waits_for_its_own_objects_only() -> None:
    rig = two_teams()
    async with a_client(rig.application(), token=f"{OWN}/someone", peer="10.0.0.1") as client:

        async def wait(team: str) -> httpx.Response:
            wanted = {"kind": "AuthorizationPolicy", "namespace": team, "name": f"{team}-callers"}
            return await client.post("/api/v1/wait", json={"object": wanted, "seconds": 0})

        own, other = await wait(OWN), await wait(OTHER)
    assert (own.status_code, own.json()["is_converged"]) == (200, True)
    assert other.status_code == 403


async def test_a_namespace_is_told_of_its_own_refusals_only() -> None:
    rig = two_teams()
    rig.apply_text(
        f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {OTHER}-more, namespace: {OTHER}}}
spec: {{action: DENY, rules: [{{from: [{{source: {{namespaces: [x]}}}}]}}]}}
"""
    )
    for session in rig.sessions:
        rig.refuse(session, f"{OTHER}/{OTHER}-more: no")
    rig.clock.time += 1
    async with a_client(rig.application(), token=f"{OWN}/someone", peer="10.0.0.1") as client:
        answers = await _walk(client, rig, OWN)
    for path, answer in answers.items():
        assert OTHER not in answer.text, path


@pytest.mark.proves("AM-13")
async def test_no_endpoint_shows_key_material() -> None:
    rig = two_teams()
    async with a_client(rig.application()) as client:
        for team in (OWN, OTHER):
            for path, answer in (await _walk(client, rig, team)).items():
                assert not KEY_MATERIAL.search(answer.text), path
                assert ADMIN_TOKEN not in answer.text, path


@pytest.mark.refutes("AM-13")
def test_the_search_for_key_material_finds_some() -> None:
    for text in ("-----BEGIN EC PRIVATE KEY-----", "eyJhbGciOiJF.eyJhdWQi", "Bearer x"):
        assert KEY_MATERIAL.search(json.dumps({"x": text}))


def test_references_are_told_as_they_are_known() -> None:
    # The walk relies on it: an object that could not be told apart would be hidden from everybody.
    rig = two_teams()
    found: Any = rig.view.knowledge.origins(ObjectReference("Service", OTHER, f"{OTHER}-shop"))
    assert found.file == f"{OTHER}.yaml"
