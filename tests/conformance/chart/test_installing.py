"""What the chart installs is taken by an API server, and is there afterwards."""

import aiohttp
import pytest

from tests.support.chart import NAMESPACE, cases, documents
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_objects import Resource

INSTALLED = (
    Resource("rbac.authorization.k8s.io", ("v1",), "ClusterRole", "clusterroles", False),
    Resource(
        "rbac.authorization.k8s.io", ("v1",), "ClusterRoleBinding", "clusterrolebindings", False
    ),
    Resource("rbac.authorization.k8s.io", ("v1",), "Role", "roles"),
    Resource("rbac.authorization.k8s.io", ("v1",), "RoleBinding", "rolebindings"),
    Resource("", ("v1",), "PersistentVolumeClaim", "persistentvolumeclaims"),
    Resource("monitoring.coreos.com", ("v1",), "PodMonitor", "podmonitors"),
    Resource("monitoring.coreos.com", ("v1",), "ServiceMonitor", "servicemonitors"),
)


@pytest.mark.parametrize("case", cases())
async def test_an_api_server_takes_the_manifests_and_gives_them_back(case: str) -> None:
    async with KubernetesApi() as api, aiohttp.ClientSession() as session:
        for each in INSTALLED:
            api.objects.resources[each.group, each.plural] = each
            api.objects.held.setdefault(each.plural, {})
        by_kind = {(each.group, each.kind): each for each in api.objects.resources.values()}
        namespace = {"kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await session.post(f"{api.url}/api/v1/namespaces", json=namespace)
        for wanted in documents(case):
            group, _, version = wanted["apiVersion"].rpartition("/")
            resource = by_kind[group, wanted["kind"]]
            metadata = wanted["metadata"]
            assert resource.namespaced is ("namespace" in metadata)
            root = f"{api.url}/{'apis' if group else 'api'}/{wanted['apiVersion']}"
            place = f"/namespaces/{metadata['namespace']}" if resource.namespaced else ""
            path = f"{root}{place}/{resource.plural}/{metadata['name']}"
            applied = await session.patch(
                f"{path}?fieldManager=helm",
                json=wanted,
                headers={"content-type": "application/apply-patch+yaml"},
            )
            assert applied.status == 201, await applied.text()
            found = await (await session.get(path)).json()
            for part in wanted.keys() - {"metadata"}:
                assert found[part] == wanted[part]
            assert metadata.items() <= found["metadata"].items()
            assert version in resource.versions
