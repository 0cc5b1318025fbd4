"""When waypoints are deployed; what as is in ``test_waypoint_objects``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from dataclasses import replace as replace_settings

import pytest
from msgspec.structs import replace

from controlplane.cluster.apply import Outcome
from controlplane.controllers.gateway_classes import GatewayClasses
from controlplane.controllers.waypoint_deployment import WaypointDeployment
from controlplane.dataflow import Graph
from controlplane.manifests.gateway import (
    Gateway,
    GatewayAddress,
    GatewayClass,
    Infrastructure,
    ParametersReference,
)
from controlplane.model.names import Name
from tests.support.cluster_feed import WatchedCluster
from tests.support.cluster_memory import a_refusal
from tests.support.dataflow_time import VirtualClock, let_run
from tests.support.waypoint_objects import ROOT_NAMESPACE, SETTINGS
from tests.unit.controllers.test_waypoint_objects import a_gateway

WAYPOINT = Name("shop", "waypoint")
ACCOUNT = "/api/v1/namespaces/shop/serviceaccounts/waypoint"
SERVICE = "/api/v1/namespaces/shop/services/waypoint"
DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/waypoint"
AUTOSCALER = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/waypoint"
OPTIONS = "/api/v1/namespaces/shop/configmaps/options"
CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/waypoint"


@dataclass
class Lead:
    seconds_left: float = 8.0


@dataclass
class Mesh:
    cluster: WatchedCluster = field(default_factory=WatchedCluster)
    clock: VirtualClock = field(default_factory=VirtualClock)
    lead: Lead = field(default_factory=Lead)
    revision: str = ""

    def __post_init__(self) -> None:
        self.graph = Graph()
        self.gateways = self.graph.input("gateways", Gateway, key=lambda value: value.key)
        self.classes = self.graph.input("classes", GatewayClass, key=lambda value: value.key)
        self.keeper = WaypointDeployment(
            self.cluster,
            lead=self.lead,
            gateways=self.gateways,
            gateway_classes=self.classes,
            settings=replace_settings(SETTINGS, revision=self.revision),
            root_namespace=ROOT_NAMESPACE,
            clock=self.clock,
            draw=lambda: 1.0,
        )

    async def put(self, gateway: Gateway) -> None:
        with self.graph.transaction():
            self.gateways.put(gateway)
        await let_run()

    @property
    def writes(self) -> int:
        return len(self.cluster.writes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keeper.run())
        try:
            await let_run()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.proves("WO-30", "WO-36")
async def test_a_gateway_is_deployed_when_it_appears_and_followed_when_it_changes() -> None:
    mesh = Mesh()
    async with mesh.running():
        await mesh.put(a_gateway())
        assert {at.rsplit("/", 2)[1] for at in mesh.cluster.objects} == {
            "serviceaccounts",
            "configmaps",
            "deployments",
            "services",
        }
        assert mesh.writes == 4
        assert mesh.keeper.judged(WAYPOINT) == ()
        labelled = a_gateway()
        metadata = replace(labelled.metadata, labels={"team": "shop"})
        await mesh.put(replace(labelled, metadata=metadata))
        assert mesh.cluster.objects[SERVICE]["metadata"]["labels"]["team"] == "shop"


@pytest.mark.parametrize(
    ("revision", "asked", "is_deployed"),
    [
        pytest.param("", "default", True, marks=pytest.mark.refutes("WO-29")),
        pytest.param("", "canary", False, marks=pytest.mark.proves("WO-29")),
        pytest.param("canary", "canary", True, marks=pytest.mark.refutes("WO-29")),
        pytest.param("canary", "default", False, marks=pytest.mark.proves("WO-29")),
    ],
)
async def test_a_gateway_of_another_revision_is_left_alone(
    revision: str, asked: str, *, is_deployed: bool
) -> None:
    mesh = Mesh(revision=revision)
    gateway = a_gateway()
    labelled = replace(gateway.metadata, labels={"istio.io/rev": asked})
    async with mesh.running():
        await mesh.put(replace(gateway, metadata=labelled))
        assert (DEPLOYMENT in mesh.cluster.objects) is is_deployed


@pytest.mark.refutes("WO-30", "WO-36")
async def test_a_status_some_time_and_another_leader_are_no_reason_to_write() -> None:
    mesh = Mesh()
    async with mesh.running():
        await mesh.put(a_gateway())
        asked = len(mesh.cluster.asked)
        told = (GatewayAddress("Hostname", "waypoint.shop.svc.cluster.local"),)
        await mesh.put(replace(a_gateway(), status_addresses=told))
        await mesh.clock.advance(1300.0)
        assert len(mesh.cluster.asked) == asked
    again = Mesh(cluster=mesh.cluster)
    async with again.running():
        await again.put(a_gateway())
        assert again.keeper.judged(WAYPOINT) == ()
    assert mesh.writes == 4


@pytest.mark.proves("WO-35")
@pytest.mark.refutes("WO-35")
async def test_five_changes_are_put_right_between_two_goings_over() -> None:
    mesh = Mesh()
    mesh.cluster.put(GATEWAY, {"metadata": {"name": "waypoint", "uid": "uid-1"}})
    async with mesh.running():
        await mesh.put(a_gateway())
        for _ in range(5):
            mesh.cluster.delete(ACCOUNT)
            await let_run()
            assert ACCOUNT in mesh.cluster.objects
        mesh.cluster.delete(ACCOUNT)
        await mesh.clock.advance(590.0)
        assert ACCOUNT not in mesh.cluster.objects
        await mesh.clock.advance(15.0)
        assert ACCOUNT in mesh.cluster.objects


@pytest.mark.proves("WO-33")
async def test_what_serves_stays_until_what_has_the_new_name_does() -> None:
    mesh = Mesh()
    async with mesh.running():
        await mesh.put(a_gateway())
        mesh.cluster.change(DEPLOYMENT, status={"availableReplicas": 1})
        await mesh.put(a_gateway(annotations={"gateway.istio.io/name-override": "w2"}))
        renamed = DEPLOYMENT.replace("waypoint", "w2")
        mesh.cluster.change(renamed, status={"replicas": 1})
        await let_run()
        assert {DEPLOYMENT, SERVICE, renamed} <= mesh.cluster.objects.keys()
        mesh.cluster.change(renamed, status={"replicas": 1, "availableReplicas": 1})
        await let_run()
        assert not {DEPLOYMENT, SERVICE} & mesh.cluster.objects.keys()
        assert len(mesh.cluster.objects) == 4


@pytest.mark.refutes("WO-33")
async def test_a_gateway_that_goes_back_to_its_name_keeps_what_it_had() -> None:
    mesh = Mesh()
    async with mesh.running():
        await mesh.put(a_gateway())
        mesh.cluster.change(DEPLOYMENT, status={"availableReplicas": 1})
        before = mesh.cluster.objects[DEPLOYMENT]["metadata"]["uid"]
        await mesh.put(a_gateway(annotations={"gateway.istio.io/name-override": "w2"}))
        await mesh.put(a_gateway())
        assert mesh.cluster.objects[DEPLOYMENT]["metadata"]["uid"] == before
        assert len(mesh.cluster.objects) == 4


@pytest.mark.proves("WO-39")
async def test_what_went_with_its_gateway_is_not_made_again_by_who_does_not_know_yet() -> None:
    mesh = Mesh()
    async with mesh.running():
        await mesh.put(a_gateway())
        mesh.cluster.delete(ACCOUNT)
        await let_run()
        # The API server has no such Gateway any more, though the mesh has yet to hear of it.
        assert ACCOUNT not in mesh.cluster.objects
        assert mesh.writes == 4


@pytest.mark.proves("WO-37")
async def test_a_gateway_waits_for_its_parameters() -> None:
    mesh = Mesh()
    mesh.cluster.fail("GET", *([a_refusal(403, "Forbidden")] * 7))
    reference = ParametersReference(group="", kind="ConfigMap", name="options")
    gateway = a_gateway(infrastructure=Infrastructure(parameters=reference))
    async with mesh.running():
        await mesh.put(gateway)
        assert not mesh.writes
        trouble = mesh.keeper.troubles[WAYPOINT]
        assert trouble.outcome is Outcome.UNAVAILABLE
        await mesh.clock.advance(60.0)
        (problem,) = mesh.keeper.problems[WAYPOINT]
        assert problem.message == "parametersRef ConfigMap shop/options does not exist"
        assert not mesh.writes
        data = {"horizontalPodAutoscaler": "spec: {maxReplicas: 3}"}
        metadata = {"name": "options", "namespace": "shop"}
        mesh.cluster.put(OPTIONS, {"metadata": metadata, "data": data})
        await let_run()
        assert not mesh.keeper.problems
        assert AUTOSCALER in mesh.cluster.objects
        mesh.cluster.change(OPTIONS, data={})
        await let_run()
        assert AUTOSCALER not in mesh.cluster.objects
        await mesh.put(a_gateway())
        followed = {watch.params.get("fieldSelector") for watch in mesh.cluster.watches}
        assert "metadata.name=options" not in followed


async def test_judgements_are_told_and_forgotten_with_the_lead() -> None:
    mesh = Mesh()
    told: list[Name] = []
    mesh.keeper.subscribe(told.append)
    async with mesh.running():
        await mesh.put(a_gateway())
        await mesh.put(a_gateway(addresses=(GatewayAddress("IPAddress", "nonsense"),)))
        assert told == [WAYPOINT, WAYPOINT]
        assert [each.code for each in mesh.keeper.problems[WAYPOINT]] == [
            "waypoint.unsupported-address"
        ]
        mesh.lead.seconds_left = 0.0
        await mesh.clock.advance(2.0)
        assert not mesh.keeper.problems
        assert mesh.keeper.judged(WAYPOINT) is None
        assert not mesh.cluster.watches


@pytest.mark.proves("GS-1", "GS-2")
async def test_classes_appear_with_the_gateway_api() -> None:
    cluster, clock = WatchedCluster(absent={"gatewayclasses"}), VirtualClock()
    keeper = GatewayClasses(cluster, lead=Lead(), clock=clock, draw=lambda: 1.0)
    task = asyncio.create_task(keeper.run())
    await clock.advance(120.0)
    assert not cluster.writes
    assert not keeper.troubles
    cluster.absent.clear()
    await clock.advance(60.0)
    assert {at.rpartition("/")[2] for at in cluster.objects} == {"istio-waypoint", "istio-remote"}
    for live in cluster.objects.values():
        assert [each["type"] for each in live["status"]["conditions"]] == ["Accepted"]
    writes = len(cluster.writes)
    await clock.advance(1300.0)
    assert len(cluster.writes) == writes == 4
    cluster.delete(f"{CLASSES}/istio-remote")
    await let_run()
    assert f"{CLASSES}/istio-remote" in cluster.objects
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
