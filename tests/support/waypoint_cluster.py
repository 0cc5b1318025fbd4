"""A control plane that deploys waypoints into a double of the API server, and what others do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from controlplane.clock import SystemClock
from controlplane.cluster.api_server import ApiServer
from controlplane.controllers.gateway_classes import GatewayClasses
from controlplane.controllers.gateway_status import GatewayStatus
from controlplane.controllers.waypoint_deployment import WaypointDeployment
from controlplane.controllers.work_in_leads import LeadPace
from controlplane.dataflow import Batcher
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import Intake
from controlplane.sources.kubernetes.source import KubernetesSource
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import QUICK, client_of, put, put_document
from tests.support.kubernetes_objects import Json
from tests.support.waypoint_objects import ROOT_NAMESPACE, SETTINGS

NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
  namespace: shop
  labels: {istio.io/waypoint-for: service}
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - {name: mesh, port: 15008, protocol: HBONE}
"""
_WRITES = {"create", "update", "patch", "delete"}
_PIECES = 5


@dataclass
class Lead:
    seconds_left: float = 8.0


@dataclass
class Replica:
    """One control plane: its graph, its three controllers and its lead."""

    client: ApiServer
    pipeline: Pipeline
    lead: Lead
    deployment: WaypointDeployment
    status: GatewayStatus
    classes: GatewayClasses


@dataclass
class Cluster:
    """The double, and what users and other controllers do to it."""

    api: KubernetesApi
    replicas: list[Replica] = field(default_factory=list)

    @property
    def replica(self) -> Replica:
        return self.replicas[-1]

    def put(self, text: str) -> None:
        put(self.api.objects, text)

    def get(self, plural: str, name: str, namespace: str = "shop") -> Json:
        found = self.api.objects.get(plural, (namespace, name))
        assert found is not None, f"no {plural} {namespace}/{name}"
        return found

    def has(self, plural: str, name: str, namespace: str = "shop") -> bool:
        return self.api.objects.get(plural, (namespace, name)) is not None

    def change(self, plural: str, name: str, change: Callable[[Json], None], **at: str) -> None:
        """Change an object as somebody else, who takes the fields over."""
        namespace = at.get("namespace", "shop")
        found = yaml.safe_load(yaml.safe_dump(self.get(plural, name, namespace)))
        change(found)
        self.api.objects.write(plural, (namespace, name), found)

    def delete(self, plural: str, name: str, namespace: str = "shop") -> None:
        self.api.objects.delete(plural, (namespace, name))

    def status(self, name: str = "waypoint") -> Json:
        return self.get("gateways", name).get("status") or {}

    def condition(self, kind: str, name: str = "waypoint") -> Json:
        for each in self.status(name).get("conditions") or ():
            if each["type"] == kind:
                return dict(each)
        return {}

    def serve(self, *, is_ready: bool | None = True, name: str = "waypoint", ip: str = "") -> None:
        """Be the cluster: give the Service an address, and endpoints of one pod."""

        def give(service: Json) -> None:
            service["spec"] |= {"clusterIP": ip, "clusterIPs": [ip]}

        if ip:
            self.change("services", name, give)
        put_document(
            self.api.objects,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-x",
                    "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"name": "mesh", "port": 15008, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": is_ready}}],
            },
        )

    async def until(self, holds: Callable[[], Any]) -> None:
        await self.api.until(holds)

    async def settled(self) -> None:
        """Wait until nothing has been written for a moment."""
        while await self.quiet(0.1):
            pass

    async def quiet(self, seconds: float = 0.3) -> list[Any]:
        """Let some time pass; return what was written to the API meanwhile."""
        before = len(self.api.asked)
        # In pieces: a machine that does something else for a while takes one of them, not all.
        for _ in range(_PIECES):
            await asyncio.sleep(seconds / _PIECES)
        return [each for each in self.api.asked[before:] if each.verb in _WRITES]


@asynccontextmanager
async def a_cluster(*texts: str) -> AsyncIterator[Cluster]:
    async with KubernetesApi() as api:
        api.objects.define_all()
        cluster = Cluster(api)
        for text in (NAMESPACES, *texts):
            cluster.put(text)
        yield cluster


@asynccontextmanager
async def a_replica(
    cluster: Cluster, *, lead: Lead | None = None, settings: Any = SETTINGS, resync: float = 600.0
) -> AsyncIterator[Replica]:
    """Run a control plane until the end of the block; its sources are synced when it begins."""
    clock = SystemClock()
    lead = lead or Lead()
    follow = QUICK.follow
    async with client_of(cluster.api) as client:
        pipeline = build_pipeline(MeshSettings(expands=False))
        batcher = Batcher(pipeline.graph, clock)
        intake = Intake(pipeline.inputs, pipeline.found_problems, batcher)
        source = KubernetesSource(client, settings=QUICK)
        inputs = pipeline.inputs
        deployment = WaypointDeployment(
            client,
            lead=lead,
            gateways=inputs.gateways,
            gateway_classes=inputs.gateway_classes,
            settings=settings,
            root_namespace=ROOT_NAMESPACE,
            clock=clock,
            draw=lambda: 0.0,
            pace=LeadPace(look=0.02, resync=resync, follow=follow),
        )
        pace = LeadPace(look=0.02, resync=resync, follow=follow)
        status = GatewayStatus(
            client,
            lead=lead,
            gateways=inputs.gateways,
            gateway_classes=inputs.gateway_classes,
            services=inputs.services,
            endpoint_slices=inputs.endpoint_slices,
            judgements=deployment,
            settings=settings,
            clock=clock,
            draw=lambda: 0.0,
            pace=pace,
        )
        classes = GatewayClasses(client, lead=lead, clock=clock, draw=lambda: 0.0, pace=pace)
        runs = [asyncio.create_task(run) for run in (batcher.run(), source.run(intake))]
        await cluster.until(lambda: pipeline.graph.ready)
        runs += [asyncio.create_task(each.run()) for each in (deployment, status, classes)]
        replica = Replica(client, pipeline, lead, deployment, status, classes)
        cluster.replicas.append(replica)
        try:
            yield replica
        finally:
            for run in runs:
                run.cancel()
            ended = await asyncio.gather(*runs, return_exceptions=True)
            cluster.replicas.remove(replica)
            for found in ended:
                if isinstance(found, Exception):
                    raise found
