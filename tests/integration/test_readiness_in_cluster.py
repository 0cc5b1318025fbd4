"""What a process in a cluster says of itself, and where its roots are, when things are odd."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.app.process import Process
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put
from tests.support.replicas import cluster_settings, fill, ready, root_maps, running, until

MESH_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "{mesh}"}}
"""


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        fill(api, "other")
        yield api


@pytest.mark.proves("RP-10")
async def test_keys_that_were_deleted_are_missed_aloud_and_no_root_takes_their_place(
    api: KubernetesApi, tmp_path: Path
) -> None:
    async with running(cluster_settings(tmp_path, api)) as process:
        await until(lambda: "shop" in root_maps(api))
        before = root_maps(api)
        api.objects.delete("secrets", ("istio-system", "istiod-lite-ca"))
        await _says(process, "the key store is empty")
        assert (await ready(process)).status_code == 200
        assert root_maps(api) == before
        assert api.objects.get("secrets", ("istio-system", "istiod-lite-ca")) is None


@pytest.mark.proves("RP-10")
async def test_another_trust_domain_than_that_of_the_certificates_is_told(
    api: KubernetesApi, tmp_path: Path
) -> None:
    put(api.objects, MESH_CONFIG.format(mesh="trustDomain: first.example"))
    async with running(cluster_settings(tmp_path, api)) as process:
        assert "trust domain" not in (await ready(process)).text
        put(api.objects, MESH_CONFIG.format(mesh="trustDomain: second.example"))
        await _says(process, "for trust domain first.example, but the mesh configuration says")
        api.objects.delete("configmaps", ("istio-system", "istio"))
        await _says(process, "but the mesh configuration says cluster.local")


@pytest.mark.proves("RC-1")
async def test_who_verifies_the_control_plane_has_its_roots_whatever_is_selected(
    api: KubernetesApi, tmp_path: Path
) -> None:
    put(
        api.objects,
        MESH_CONFIG.format(mesh="discoverySelectors: [{matchLabels: {mesh: here}}]"),
    )
    api.objects.write("namespaces", ("", "here"), {"metadata": {"labels": {"mesh": "here"}}})
    accounts = "kube-system/ztunnel,missing/ztunnel"
    settings = cluster_settings(tmp_path, api, trusted_node_accounts=accounts)
    async with running(settings):
        await until(lambda: len(root_maps(api)) == 3)
        assert root_maps(api).keys() == {"here", "istio-system", "kube-system"}


async def _says(process: Process, words: str) -> None:
    """Wait until readiness says ``words``."""
    async with asyncio.timeout(15):
        while words not in (await ready(process)).text:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.1)
