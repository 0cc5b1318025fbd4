"""Conditions and allocated addresses over HTTP: a cluster is read, judged and told.

The source, the graph and both controllers run against the double of the API server.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from controlplane.clock import SystemClock
from controlplane.cluster.api_server import ApiServer
from controlplane.cluster.apply import Outcome
from controlplane.controllers.address_allocation import AddressAllocation
from controlplane.controllers.queue import Pace
from controlplane.controllers.statuses import StatusConditions
from controlplane.controllers.work_in_rounds import RoundPace, WritingTerms
from controlplane.dataflow import Batcher
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.intake import Intake
from controlplane.sources.kubernetes.source import KubernetesSource
from tests.support.cluster_statuses import Lead
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import QUICK, client_of, put
from tests.support.kubernetes_objects import Json

BOUND = "istio.io/WaypointBound"
SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
status:
  addresses: [{type: IPAddress, value: 10.96.0.9}]
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: shop, labels: {istio.io/use-waypoint: absent}}
spec: {hosts: [bank.example], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: shop}
spec: {rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {targetRefs: [{kind: Service, name: cart, group: ""}]}
"""


@dataclass
class Running:
    """One replica that leads."""

    api: KubernetesApi
    client: ApiServer
    lead: Lead = field(default_factory=Lead)

    def __post_init__(self) -> None:
        clock = SystemClock()
        self.pipeline = build_pipeline(MeshSettings(expands=False))
        self.batcher = Batcher(self.pipeline.graph, clock, quiet=0.001, maximum=0.01)
        intake = Intake(self.pipeline.inputs, self.pipeline.found_problems, self.batcher)
        self.source = KubernetesSource(self.client, settings=QUICK)
        terms = WritingTerms(
            client=self.client,
            lead=self.lead,
            paths=self.source.path_of,
            is_ready=lambda: self.pipeline.graph.ready,
            clock=clock,
            draw=lambda: 0.0,
            pace=RoundPace(look=0.01),
            queue_pace=Pace(first_pause=0.01, longest_pause=0.05, tries=2),
        )
        self.statuses = StatusConditions(terms, conditions=self.pipeline.world.conditions)
        self.allocation = AddressAllocation(
            terms,
            entries=self.pipeline.inputs.service_entries,
            members=self.pipeline.world.service_entries,
            services=self.pipeline.inputs.services,
            ranges=("240.240.0.0/16", "2001:2::/48"),
        )
        self.parts = (
            self.batcher.run(),
            self.source.run(intake),
            self.statuses.run(),
            self.allocation.run(),
        )

    def live(self, plural: str, name: str) -> Json:
        return self.api.objects.held[plural]["shop", name]

    def told(self, plural: str, name: str) -> dict[str, str]:
        status = self.live(plural, name).get("status") or {}
        return {each["type"]: each["reason"] for each in status.get("conditions") or ()}

    def managers(self, plural: str, name: str) -> set[str]:
        entries = self.live(plural, name)["metadata"].get("managedFields", ())
        return {each["manager"] for each in entries if each.get("subresource") == "status"}

    async def settled(self) -> None:
        """Wait until both have gone over everything and nothing moves any more."""
        for _ in range(500):
            asked = len(self.api.asked)
            # In pieces: a machine that does something else for a while takes one of them, not all.
            for _ in range(5):
                await asyncio.sleep(0.01)
            is_idle = self.statuses.is_idle and self.allocation.is_idle
            if self.pipeline.graph.ready and is_idle and len(self.api.asked) == asked:
                return
        raise AssertionError("it never came to rest")


@asynccontextmanager
async def running(api: KubernetesApi, client: ApiServer) -> AsyncIterator[Running]:
    replica = Running(api, client)
    tasks = [asyncio.create_task(part) for part in replica.parts]
    try:
        await replica.settled()
        yield replica
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        api.objects.define_all()
        put(api.objects, SHOP)
        yield api


@pytest.fixture
async def client(api: KubernetesApi) -> AsyncIterator[ApiServer]:
    async with client_of(api) as client:
        yield client


@pytest.mark.proves("SS-1", "SS-2", "AL-1")
async def test_a_mesh_is_told_what_became_of_it(api: KubernetesApi, client: ApiServer) -> None:
    async with running(api, client) as replica:
        assert replica.told("services", "cart") == {BOUND: "WaypointAccepted"}
        assert replica.told("serviceentries", "bank") == {BOUND: "WaypointIsNotReady"}
        assert replica.told("authorizationpolicies", "allow") == {"ZtunnelAccepted": "Accepted"}
        assert replica.told("requestauthentications", "tokens") == {"WaypointAccepted": "Accepted"}
        assert replica.managers("services", "cart") == {"istio-ambient-service"}
        assert replica.managers("authorizationpolicies", "allow") == {
            "istio-ambient-ztunnel-policy"
        }
        (condition,) = replica.live("authorizationpolicies", "allow")["status"]["conditions"]
        assert condition["observedGeneration"] == 1
        given = replica.live("serviceentries", "bank")["status"]["addresses"]
        assert [each["host"] for each in given] == ["bank.example"] * 2
        assert not replica.statuses.troubles
        assert not replica.allocation.troubles
        # What was allocated is what the mesh answers with.
        services = dict(replica.pipeline.world.services.items())
        (bank,) = (each for each in services.values() if each.hostname == "bank.example")
        assert len(bank.addresses) == 2


@pytest.mark.proves("SS-3", "AL-10")
async def test_a_settled_mesh_is_not_written_to_whoever_leads(
    api: KubernetesApi, client: ApiServer
) -> None:
    async with running(api, client):
        pass
    before, writes = (
        json.dumps(api.objects.held["serviceentries"]["shop", "bank"]),
        api.objects.writes,
    )
    asked = len(api.asked)
    async with running(api, client) as replica:
        replica.lead.seconds_left = 0.0
        await asyncio.sleep(0.05)
        replica.lead.seconds_left = 8.0
        await replica.settled()
    assert {each.verb for each in api.asked[asked:]} == {"list", "watch"}
    assert api.objects.writes == writes
    assert json.dumps(api.objects.held["serviceentries"]["shop", "bank"]) == before


@pytest.mark.proves("SS-5", "SS-6", "SS-8")
async def test_conditions_follow_the_mesh(api: KubernetesApi, client: ApiServer) -> None:
    async with running(api, client) as replica:
        service = dict(replica.live("services", "cart"))
        service["metadata"] = {**service["metadata"], "labels": {}}
        api.objects.write("services", ("shop", "cart"), service)
        policy = dict(replica.live("authorizationpolicies", "allow"))
        policy["spec"] = {"rules": [{}], "targetRefs": [{"kind": "Service", "name": "cart"}]}
        api.objects.write("authorizationpolicies", ("shop", "allow"), policy)
        await api.until(lambda: replica.told("services", "cart") == {})
        await api.until(
            lambda: (
                replica.told("authorizationpolicies", "allow")
                == {"WaypointAccepted": "AncestorNotBound"}
            )
        )
        await replica.settled()
        assert replica.managers("authorizationpolicies", "allow") >= {
            "istio-ambient-waypoint-policy"
        }
        found = replica.live("authorizationpolicies", "allow")["status"]["conditions"]
        assert [each["observedGeneration"] for each in found] == [2]


@pytest.mark.proves("SS-10", "AL-13")
async def test_what_is_forbidden_or_refused_stops_nothing_else(
    api: KubernetesApi, client: ApiServer
) -> None:
    api.denied.add(("patch", "serviceentries/status"))
    api.fail("patch", "services/status", 409, 500)
    async with running(api, client) as replica:
        assert replica.told("authorizationpolicies", "allow") == {"ZtunnelAccepted": "Accepted"}
        assert replica.told("services", "cart") == {BOUND: "WaypointAccepted"}
        troubles = {str(key): each.outcome for key, each in replica.statuses.troubles.items()}
        assert troubles == {"ServiceEntry shop/bank": Outcome.FORBIDDEN}
        troubles = {str(key): each.outcome for key, each in replica.allocation.troubles.items()}
        assert troubles == {"shop/bank": Outcome.FORBIDDEN}
        api.denied.clear()
        replica.lead.seconds_left = 0.0
        await asyncio.sleep(0.05)
        replica.lead.seconds_left = 8.0
        await api.until(lambda: replica.told("serviceentries", "bank") != {})
        await api.until(lambda: "addresses" in replica.live("serviceentries", "bank")["status"])
        await replica.settled()
        assert not replica.statuses.troubles
        assert not replica.allocation.troubles


@pytest.mark.proves("SS-9")
async def test_an_older_version_of_a_kind_is_written_as_such(
    api: KubernetesApi, client: ApiServer
) -> None:
    definition = api.objects.held["customresourcedefinitions"][
        "", "serviceentries.networking.istio.io"
    ]
    older = json.loads(json.dumps(definition))
    older["spec"]["versions"] = [each for each in older["spec"]["versions"] if each["name"] != "v1"]
    api.objects.write(
        "customresourcedefinitions", ("", "serviceentries.networking.istio.io"), older
    )
    api.objects.delete("customresourcedefinitions", ("", "workloadentries.networking.istio.io"))
    async with running(api, client) as replica:
        assert replica.source.path_of("ServiceEntry") == (
            "/apis/networking.istio.io/v1beta1/serviceentries"
        )
        assert replica.told("serviceentries", "bank") == {BOUND: "WaypointIsNotReady"}
        assert "addresses" in replica.live("serviceentries", "bank")["status"]
        assert replica.source.path_of("WorkloadEntry") is None
        assert not replica.statuses.troubles
