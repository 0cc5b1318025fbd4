"""Where requests go: routes, ports and addresses, from manifests to what applications see."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from controlplane.lab.requests import Answer
from controlplane.lab.ztunnel.network import NetworkAddress
from tests.support.lab_mesh import (
    a_cluster,
    a_document,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
    write,
)
from tests.support.lab_policies import a_policy, principal, source, spiffe

pytestmark = pytest.mark.timeout(60)

WAYPOINT = spiffe("waypoint")
SLEEP = source(principals=[principal("sleep")])


def _documents() -> list[dict[str, Any]]:
    versions = [
        a_service(f"web-{version}", selector={"app": "web", "version": version})
        for version in ("v1", "v2")
    ]
    return [
        *a_cluster("shop"),
        a_waypoint(),
        *an_application("web"),
        *an_application("web", version="v2"),
        a_service("web", waypoint="waypoint"),
        *versions,
        a_service("nobody", selector={"app": "nobody"}),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
    ]


def _route(name: str, *rules: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    spec = {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}], "rules": list(rules)}
    return {**a_document("HTTPRoute", name, spec=spec), **rest}


def _to(name: str, weight: int = 1, **rest: Any) -> dict[str, Any]:
    return {"name": name, "port": 80, "weight": weight, **rest}


def _match(**fields: Any) -> dict[str, Any]:
    return {"matches": [fields]}


def _path(kind: str, value: str) -> dict[str, str]:
    return {"type": kind, "value": value}


async def _versions(mesh: Lab, path: str, number: int, **rest: Any) -> Counter[str]:
    """Return how often each version answered, or else the status."""
    found: Counter[str] = Counter()
    for _ in range(number):
        answer = await mesh.request("sleep", f"http://web{path}", **rest)
        found[_version(answer)] += 1
    return found


def _version(answer: Answer) -> str:
    if answer.status != 200:
        return str(answer.status)
    found: str = json.loads(answer.body)["version"]
    return found


async def _until(mesh: Lab, path: str, wanted: str) -> None:
    async with asyncio.timeout(20):
        while _version(await mesh.request("sleep", f"http://web{path}")) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_most_exact_rule_of_several_routes_decides(tmp_path: Path) -> None:
    header = [{"name": "x-version", "value": "one"}]
    routes = [
        _route("a", {**_match(path=_path("PathPrefix", "/")), "backendRefs": [_to("web-v2")]}),
        _route(
            "b",
            {**_match(path=_path("Exact", "/exact")), "backendRefs": [_to("web-v1")]},
            {
                **_match(path=_path("PathPrefix", "/long/path")),
                "backendRefs": [_to("web-v1")],
            },
            {
                **_match(path=_path("PathPrefix", "/"), headers=header),
                "backendRefs": [_to("web-v1")],
            },
            {
                **_match(path=_path("PathPrefix", "/"), method="PUT"),
                "backendRefs": [_to("web-v1")],
            },
        ),
    ]
    async with a_lab(tmp_path, *_documents(), *routes) as (mesh, folder):
        await _until(mesh, "/", "v2")
        cases = {
            "/exact": "v1",
            "/exact/not": "v2",
            "/long/path/on": "v1",
            "/long": "v2",
        }
        for path, version in cases.items():
            assert (path, await _versions(mesh, path, 3)) == (path, {version: 3})
        assert await _versions(mesh, "/", 3, headers={"x-version": "one"}) == {"v1": 3}
        assert await _versions(mesh, "/", 3, headers={"x-version": "two"}) == {"v2": 3}
        assert await _versions(mesh, "/", 3, method="PUT") == {"v1": 3}
        # Without the rule for everything else there is nothing else.
        write(folder, "mesh.yaml", *_documents(), routes[1])
        await _until(mesh, "/", "404")
        assert await _versions(mesh, "/exact", 1) == {"v1": 1}


async def test_shares_of_backends_that_are_there_and_that_are_not(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_documents()) as (mesh, folder):

        def split(number: int, *backends: Mapping[str, Any]) -> None:
            marker = {**_match(path=_path("Exact", f"/split-{number}")), "filters": [REDIRECT]}
            write(folder, "route.yaml", _route("split", marker, {"backendRefs": list(backends)}))

        cases: dict[str, tuple[list[dict[str, Any]], dict[str, tuple[int, int]]]] = {
            "three to one": ([_to("web-v1", 3), _to("web-v2", 1)], {"v1": (50, 95), "v2": (5, 50)}),
            "no weight": ([_to("web-v1", 0), _to("web-v2", 1)], {"v2": (100, 100)}),
            "no weight at all": ([_to("web-v1", 0), _to("web-v2", 0)], {"500": (100, 100)}),
            "one that does not exist": (
                [_to("web-v1", 1), _to("missing", 1)],
                {"v1": (25, 75), "500": (25, 75)},
            ),
            "one without pods": ([_to("nobody")], {"503": (100, 100)}),
        }
        for number, (name, (backends, expected)) in enumerate(cases.items()):
            split(number, *backends)
            await _until(mesh, f"/split-{number}", "302")
            found = await _versions(mesh, "/", 100)
            assert found.keys() == expected.keys(), (name, found)
            for version, (low, high) in expected.items():
                assert low <= found[version] <= high, (name, found)


REDIRECT = {
    "type": "RequestRedirect",
    "requestRedirect": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/"}},
}


async def test_headers_are_changed_and_time_is_limited(tmp_path: Path) -> None:
    changes = {
        "set": [{"name": "x-set", "value": "100%"}],
        "add": [{"name": "x-add", "value": "added"}],
        "remove": ["x-remove"],
    }
    of_backend = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-backend", "value": "v1"}]},
    }
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": changes},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": changes},
    ]
    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/delay"}},
    }
    route = _route(
        "changes",
        {
            **_match(path=_path("PathPrefix", "/in-time")),
            "filters": [rewrite],
            "timeouts": {"request": "500ms"},
            "backendRefs": [_to("web-v1")],
        },
        {
            **_match(path=_path("PathPrefix", "/in-time-there")),
            "filters": [rewrite],
            "timeouts": {"backendRequest": "500ms"},
            "backendRefs": [_to("web-v1")],
        },
        {
            **_match(path=_path("PathPrefix", "/whenever")),
            "filters": [rewrite],
            "timeouts": {"request": "0s"},
            "backendRefs": [_to("web-v1")],
        },
        {"filters": filters, "backendRefs": [_to("web-v1", filters=[of_backend])]},
    )
    async with a_lab(tmp_path, *_documents(), route) as (mesh, _):
        answer = await mesh.request(
            "sleep", "http://web/", headers={"x-remove": "r", "x-add": "mine", "x-set": "mine"}
        )
        assert answer.status == 200
        seen = json.loads(answer.body)["headers"]
        assert (seen["x-set"], seen["x-backend"]) == ("100%", "v1")
        assert "added" in seen["x-add"]
        assert "x-remove" not in seen
        assert (answer.headers["x-set"], answer.headers["x-add"]) == ("100%", "added")
        for path, status in (
            ("/in-time/1", 504),
            ("/in-time-there/1", 504),
            ("/in-time/0", 200),
            ("/whenever/1", 200),
        ):
            found = await mesh.request("sleep", f"http://web{path}")
            assert (path, found.status) == (path, status)


async def test_names_and_addresses_reach_the_same_service_and_nothing_else(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *_documents()) as (mesh, _):
        service = next(
            each
            for node in mesh.nodes.values()
            for each in node.state.services.by_key.values()
            if each.hostname == "web.shop.svc.cluster.local"
        )
        (virtual,) = service.addresses
        assert isinstance(virtual, NetworkAddress)
        for host in ("web", "web.shop", "web.shop.svc.cluster.local", f"{virtual.address}"):
            answer = await mesh.request("sleep", f"http://{host}/")
            assert (host, answer.status) == (host, 200)
            assert WAYPOINT in {each.destination_identity for each in answer.records}
        for url in (f"http://{virtual.address}:81/", "http://web:81/", "http://missing/"):
            answer = await mesh.request("sleep", url)
            assert (url, answer.status) == (url, 0)


async def test_a_port_that_says_nothing_is_looked_at(tmp_path: Path) -> None:
    documents = [
        *_documents(),
        a_service("plain", selector={"app": "web"}, waypoint="waypoint", port_name="anything"),
        a_policy("DENY", {"to": [{"operation": {"methods": ["DELETE"]}}]}, service="plain"),
    ]
    async with a_lab(tmp_path, *documents) as (mesh, _):
        assert (await mesh.request("sleep", "http://plain/")).status == 200
        assert (await mesh.request("sleep", "http://plain/", method="DELETE")).status == 403


async def test_pods_in_and_out_of_the_mesh_serve_and_one_may_leave(tmp_path: Path) -> None:
    def shop(*outside: str) -> list[dict[str, Any]]:
        documents = _documents()
        for each in documents:
            if each["kind"] == "Deployment" and each["metadata"]["name"] in outside:
                labels = each["spec"]["template"]["metadata"]["labels"]
                each["spec"]["template"]["metadata"]["labels"] = {
                    **labels,
                    "istio.io/dataplane-mode": "none",
                }
        return documents

    async with a_lab(tmp_path, *shop("web-v2")) as (mesh, folder):
        await _both_answer(mesh)
        tunnelled = {
            each.destination_workload.rpartition("-")[0].rpartition("-")[0]
            for each in mesh.records
            if each.direction == "inbound" and each.source_identity == WAYPOINT
        }
        assert tunnelled == {"web-v1"}
        write(folder, "mesh.yaml", *shop("web-v1", "web-v2"))
        await mesh.settled()
        await _both_answer(mesh)
        write(folder, "mesh.yaml", *shop())
        await mesh.settled()
        await _both_answer(mesh)


async def _both_answer(mesh: Lab) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await _versions(mesh, "/", 12)
            if found.keys() == {"v1", "v2"}:
                return


@pytest.mark.parametrize("traffic_type", ["workload", "all", "service"])
async def test_who_is_called_by_address_goes_through_a_waypoint_for_workloads(
    tmp_path: Path, traffic_type: str
) -> None:
    label = {"istio.io/waypoint-for": traffic_type}
    used = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
    documents = [
        each
        for each in _documents()
        if (each["kind"], each["metadata"]["name"])
        not in {("Gateway", "waypoint"), ("Namespace", "shop")}
    ]
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    readers = a_document(
        "AuthorizationPolicy",
        "readers",
        spec={
            "targetRefs": [gateway],
            "action": "ALLOW",
            "rules": [{**SLEEP, "to": [{"operation": {"methods": ["GET"]}}]}],
        },
    )
    by_service = traffic_type in {"service", "all"}
    by_workload = traffic_type in {"workload", "all"}
    async with a_lab(
        tmp_path,
        *documents,
        a_document("Namespace", "shop", "", labels=used),
        a_waypoint(labels=label),
        readers,
    ) as (mesh, _):
        pod = f"http://{mesh.workload('web').addresses[0]}:8080/"
        for url, is_policed in (("http://web/", by_service), (pod, by_workload)):
            refused = 403 if is_policed else 200
            found = [
                (await mesh.request(client, url, method=method)).status
                for client, method in (("sleep", "GET"), ("sleep", "DELETE"), ("notsleep", "GET"))
            ]
            assert (url, found) == (url, [200, refused, refused])
