"""What is relied on of an API server, shown of the double and of a real one where there is."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from controlplane.cluster.api_server import ApiServer, ClusterLocation, open_cluster
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import client_of
from tests.support.kubernetes_objects import custom_definitions

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
CHART = Path(__file__).parents[2] / "conformance" / "chart" / "expected" / "crds.yaml"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Server:
    """An API server with the kinds of the mesh, and a namespace for one test."""

    def __init__(self, client: ApiServer) -> None:
        self.client = client
        self.namespace = f"t-{uuid4().hex[:12]}"
        self.maps = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.services = f"/api/v1/namespaces/{self.namespace}/services"
        self.leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.gateways = f"/apis/gateway.networking.k8s.io/v1/namespaces/{self.namespace}/gateways"

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        **params: str,
    ) -> tuple[int, Any]:
        text = None if body is None else json.dumps(body).encode()
        answer = await self.client.request(
            method, path, params=params, body=text, content_type=kind
        )
        return answer.status, json.loads(answer.body)

    async def apply(
        self, path: str, body: Any, manager: str = "m", force: str = "false"
    ) -> tuple[int, Any]:
        kind = "application/apply-patch+yaml"
        return await self.ask("PATCH", path, body, kind, fieldManager=manager, force=force)

    async def events(self, path: str, count: int, **params: str) -> list[tuple[str, str]]:
        """Return types and names of the next events."""
        stream = self.client.stream(path, {"watch": "true", **params})
        assert await anext(stream) == b""
        found = []
        while len(found) < count:
            event = json.loads(await anext(stream))
            if event["type"] != "BOOKMARK":
                found.append((event["type"], event["object"]["metadata"]["name"]))
        await stream.aclose()
        return found

    async def prepare(self) -> None:
        await self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        # Those of the chart first: that real servers take them is shown by the way.
        for definition in (*chart_definitions(), *custom_definitions()):
            status, found = await self.ask("POST", DEFINITIONS, definition)
            assert status in (201, 409), found
        for definition in custom_definitions():
            await self.established(definition["metadata"]["name"])

    async def established(self, name: str) -> None:
        """Wait until a kind is served; the test's own timeout bounds it."""
        found: Any = {}
        while {"type": "Established", "status": "True"} not in [
            {part: each[part] for part in ("type", "status")}
            for each in found.get("status", {}).get("conditions", [])
        ]:
            _, found = await self.ask("GET", f"{DEFINITIONS}/{name}")


@asynccontextmanager
async def of_the_double() -> AsyncIterator[ApiServer]:
    async with KubernetesApi() as api, client_of(api) as client:
        yield client


@asynccontextmanager
async def of_a_real_one(kubeconfig: Path) -> AsyncIterator[ApiServer]:
    client = await open_cluster(ClusterLocation(kubeconfig=kubeconfig))
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.kube)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    opened = (
        of_the_double()
        if request.param == "double"
        else of_a_real_one(request.getfixturevalue("real_kubeconfig"))
    )
    async with opened as client:
        found = Server(client)
        await found.prepare()
        yield found
        await found.ask("DELETE", f"/api/v1/namespaces/{found.namespace}")


def chart_definitions() -> list[Any]:
    rendered = yaml.safe_load_all(CHART.read_text())
    return [each for each in rendered if each and each["kind"] == "CustomResourceDefinition"]


def a_map(name: str = "m", **data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def a_gateway(**parts: Any) -> Any:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "g"},
        **parts,
    }


async def test_apply_makes_changes_and_removes_our_fields_only(server: Server) -> None:
    assert (await server.apply(f"{server.maps}/m", a_map(a="1", b="2")))[0] == 201
    assert (await server.apply(f"{server.maps}/m", a_map(c="3"), manager="other"))[0] == 200
    status, found = await server.apply(f"{server.maps}/m", a_map(a="1"))
    assert status == 200
    assert found["data"] == {"a": "1", "c": "3"}


async def test_an_apply_that_changes_nothing_writes_nothing(server: Server) -> None:
    _, first = await server.apply(f"{server.maps}/m", a_map(a="1"))
    _, second = await server.apply(f"{server.maps}/m", a_map(a="1"))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_fields_of_others_are_a_conflict_unless_forced(server: Server) -> None:
    path = f"{server.maps}/m"
    await server.apply(path, a_map(a="1"), manager="other")
    status, refusal = await server.apply(path, a_map(a="2"))
    assert (status, refusal["reason"]) == (409, "Conflict")
    assert {each["reason"] for each in refusal["details"]["causes"]} == {"FieldManagerConflict"}
    assert (await server.apply(path, a_map(a="2"), force="true"))[1]["data"] == {"a": "2"}
    assert (await server.apply(path, a_map(a="3"), manager="other"))[0] == 409


async def test_an_update_takes_fields_over(server: Server) -> None:
    _, made = await server.apply(f"{server.maps}/m", a_map(a="1"))
    made["data"]["a"] = "2"
    assert (await server.ask("PUT", f"{server.maps}/m", made, fieldManager="x"))[0] == 200
    assert (await server.apply(f"{server.maps}/m", a_map(a="1")))[0] == 409


async def test_an_apply_needs_a_manager_and_a_version_that_is_current(server: Server) -> None:
    kind = "application/apply-patch+yaml"
    assert (await server.ask("PATCH", f"{server.maps}/m", a_map(), kind))[0] == 400
    _, made = await server.apply(f"{server.maps}/m", a_map(a="1"))
    await server.apply(f"{server.maps}/m", a_map(a="2"))
    stale = a_map(a="3")
    stale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    assert (await server.apply(f"{server.maps}/m", stale))[0] == 409


async def test_status_and_the_rest_are_written_apart(server: Server) -> None:
    path = f"{server.gateways}/g"
    _, made = await server.ask("POST", server.gateways, a_gateway(spec={"a": 1}, status={"b": 1}))
    assert "status" not in made
    accepted = {"type": "Accepted", "status": "True"}
    wanted = a_gateway(status={"conditions": [accepted]})
    _, found = await server.apply(f"{path}/status", wanted)
    assert (found["spec"], found["status"]) == ({"a": 1}, {"conditions": [accepted]})
    assert found["metadata"]["generation"] == 1
    other = a_gateway(status={"conditions": [{"type": "Programmed", "status": "False"}]})
    _, found = await server.apply(f"{path}/status", other, manager="other")
    assert {each["type"] for each in found["status"]["conditions"]} == {"Accepted", "Programmed"}
    _, found = await server.apply(f"{path}/status", a_gateway(status={}))
    assert [each["type"] for each in found["status"]["conditions"]] == ["Programmed"]
    assert (await server.apply(f"{server.gateways}/none/status", a_gateway()))[0] == 404


async def test_status_of_a_custom_kind_takes_no_metadata_along(server: Server) -> None:
    path = f"{server.gateways}/g"
    await server.ask("POST", server.gateways, a_gateway(spec={"a": 1}))
    wanted = a_gateway()
    wanted["metadata"]["annotations"] = {"a.io/b": "5"}
    _, found = await server.apply(f"{path}/status", wanted)
    assert "annotations" not in found["metadata"]
    (entry,) = [each for each in found["metadata"]["managedFields"] if each["manager"] == "m"]
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:metadata": {"f:annotations": {"f:a.io/b": {}}}}
    _, found = await server.apply(path, wanted, manager="other", force="true")
    assert found["metadata"]["annotations"] == {"a.io/b": "5"}
    assert found["metadata"]["generation"] == 1


async def test_status_of_a_built_in_kind_takes_annotations_along(server: Server) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    assert (await server.ask("POST", server.services, service))[0] == 201
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "annotations": {"a.io/b": "5"}},
    }
    _, found = await server.apply(f"{server.services}/s/status", wanted)
    assert found["metadata"]["annotations"] == {"a.io/b": "5"}
    assert found["spec"]["ports"][0]["port"] == 80


async def test_generations_count_what_is_wanted(server: Server) -> None:
    path = f"{server.gateways}/g"
    given = a_gateway(spec={"a": 1})
    given["metadata"] |= {"uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z"}
    _, made = await server.ask("POST", server.gateways, given)
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["creationTimestamp"] > "2001"
    change = {"metadata": {"labels": {"a": "b"}}, "spec": {"a": 1}}
    _, found = await server.ask("PATCH", path, change, MERGE_PATCH)
    assert found["metadata"]["generation"] == 1
    _, found = await server.ask("PATCH", path, {"spec": {"a": 2}}, MERGE_PATCH)
    assert found["metadata"]["generation"] == 2
    assert found["metadata"]["uid"] == made["metadata"]["uid"]


async def test_of_two_who_update_a_lease_one_is_stale(server: Server) -> None:
    _, lease = await server.ask("POST", server.leases, {"metadata": {"name": "l"}, "spec": {}})
    lease["spec"] = {"holderIdentity": "a"}
    assert (await server.ask("PUT", f"{server.leases}/l", lease))[0] == 200
    lease["spec"] = {"holderIdentity": "b"}
    assert (await server.ask("PUT", f"{server.leases}/l", lease))[0] == 409
    _, refusal = await server.ask("POST", server.leases, {"metadata": {"name": "l"}})
    assert refusal["reason"] == "AlreadyExists"


async def test_a_json_patch_tests_first(server: Server) -> None:
    path = f"{server.maps}/m"
    await server.apply(path, a_map(a="1"))
    test = {"op": "test", "path": "/data/a", "value": "0"}
    change = {"op": "replace", "path": "/data/a", "value": "2"}
    assert (await server.ask("PATCH", path, [test, change], JSON_PATCH))[0] == 422
    test["value"] = "1"
    _, found = await server.ask("PATCH", path, [test, change], JSON_PATCH)
    assert found["data"] == {"a": "2"}


async def test_a_deletion_may_name_what_it_means(server: Server) -> None:
    path = f"{server.maps}/m"
    _, made = await server.apply(path, a_map(a="1"))
    other = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    assert (await server.ask("DELETE", path, other))[0] == 409
    same = {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert (await server.ask("DELETE", path, same))[0] == 200
    assert (await server.ask("GET", path))[0] == 404
    assert (await server.ask("DELETE", path))[0] == 404


async def test_a_finalizer_holds_an_object(server: Server) -> None:
    held = a_map()
    held["metadata"]["finalizers"] = ["a.io/b"]
    await server.ask("POST", server.maps, held)
    await server.ask("DELETE", f"{server.maps}/m")
    _, found = await server.ask("GET", f"{server.maps}/m")
    assert found["metadata"]["deletionTimestamp"]
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]
    await server.ask("PATCH", f"{server.maps}/m", remove, JSON_PATCH)
    assert (await server.ask("GET", f"{server.maps}/m"))[0] == 404


async def test_nothing_is_made_where_there_is_no_namespace(server: Server) -> None:
    path = "/api/v1/namespaces/there-is-none/configmaps"
    assert (await server.ask("POST", path, a_map()))[0] == 404
    assert (await server.apply(f"{path}/m", a_map()))[0] == 404


async def test_a_kind_that_is_not_defined_is_404(server: Server) -> None:
    status, refusal = await server.ask("GET", "/apis/security.istio.io/v1/nothings")
    assert (status, refusal["kind"], refusal["reason"]) == (404, "Status", "NotFound")


async def test_lists_come_in_pages_of_one_version(server: Server) -> None:
    names = [f"m{number}" for number in range(5)]
    for name in names:
        await server.ask("POST", server.maps, a_map(name))
    mine = {"fieldSelector": "metadata.name!=kube-root-ca.crt"}
    _, page = await server.ask("GET", server.maps, limit="2", **mine)
    version, found = page["metadata"]["resourceVersion"], []
    await server.ask("DELETE", f"{server.maps}/m4")
    while True:
        assert page["metadata"]["resourceVersion"] == version
        found += [each["metadata"]["name"] for each in page["items"]]
        if not page["metadata"].get("continue"):
            break
        token = page["metadata"]["continue"]
        params = {"limit": "2", "continue": token, **mine}
        _, page = await server.ask("GET", server.maps, **params)
    assert found == names
    old = {"resourceVersion": version, "resourceVersionMatch": "Exact", **mine}
    _, page = await server.ask("GET", server.maps, **old)
    assert [each["metadata"]["name"] for each in page["items"]] == names
    _, page = await server.ask("GET", server.maps, **mine)
    assert [each["metadata"]["name"] for each in page["items"]] == names[:-1]


async def test_failed_pods_are_left_out_and_deleted_for_who_watches(server: Server) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    selector = {"fieldSelector": "status.phase!=Failed"}
    _, listed = await server.ask("GET", server.pods, **selector)
    version = listed["metadata"]["resourceVersion"]
    status, made = await server.ask("POST", server.pods, pod)
    assert status == 201, made
    failed = {"status": {"phase": "Failed"}}
    await server.ask("PATCH", f"{server.pods}/p/status", failed, MERGE_PATCH)
    _, listed = await server.ask("GET", server.pods, **selector)
    assert listed["items"] == []
    events = await server.events(server.pods, 2, resourceVersion=version, **selector)
    assert events == [("ADDED", "p"), ("DELETED", "p")]


async def test_a_watch_tells_what_happened_since(server: Server) -> None:
    _, listed = await server.ask("GET", server.maps)
    version = listed["metadata"]["resourceVersion"]
    await server.ask("POST", server.maps, a_map())
    await server.apply(f"{server.maps}/m", a_map(a="1"))
    await server.ask("DELETE", f"{server.maps}/m")
    mine = {"fieldSelector": "metadata.name=m", "allowWatchBookmarks": "true"}
    events = await server.events(server.maps, 3, resourceVersion=version, **mine)
    assert events == [("ADDED", "m"), ("MODIFIED", "m"), ("DELETED", "m")]
    await server.ask("POST", server.maps, a_map())
    assert await server.events(server.maps, 1, **mine) == [("ADDED", "m")]


async def test_a_watch_ends_when_its_time_is_over(server: Server) -> None:
    parameters = {"watch": "true", "timeoutSeconds": "1", "fieldSelector": "metadata.name=none"}
    lines = [line async for line in server.client.stream(server.maps, parameters) if line]
    assert lines == []
