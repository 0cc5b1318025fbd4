"""What the mesh says of all waypoints reaches those that a running process has deployed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put
from tests.support.replicas import cluster_settings, fill, running, until
from tests.support.waypoint_cluster import GATEWAY

DEFAULTS = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: defaults
  namespace: other
  labels: {gateway.istio.io/defaults-for-class: istio-waypoint}
data: {deployment: "spec: {minReadySeconds: 7}"}
"""
MESH_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "rootNamespace: other"}
"""


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        api.objects.define_all()
        fill(api, "other")
        put(api.objects, GATEWAY)
        yield api


@pytest.mark.proves("WO-36")
async def test_network_and_root_namespace_are_followed(api: KubernetesApi, tmp_path: Path) -> None:
    def deployment() -> Any:
        return api.objects.get("deployments", ("shop", "waypoint"))

    def network() -> Any:
        labels = deployment()["spec"]["template"]["metadata"]["labels"]
        return labels.get("topology.istio.io/network")

    def seconds() -> Any:
        return deployment()["spec"].get("minReadySeconds")

    put(api.objects, DEFAULTS)
    async with running(cluster_settings(tmp_path, api)):
        await until(deployment)
        assert (network(), seconds()) == (None, None)
        labels = {"topology.istio.io/network": "north"}
        api.objects.write("namespaces", ("", "istio-system"), {"metadata": {"labels": labels}})
        await until(lambda: network() == "north")
        put(api.objects, MESH_CONFIG)
        await until(lambda: seconds() == 7)
        api.objects.delete("configmaps", ("istio-system", "istio"))
        await until(lambda: seconds() is None)
        api.objects.write("namespaces", ("", "istio-system"), {})
        await until(lambda: network() is None)
