import json
from typing import Any

import pytest

from controlplane.app.lost_root import LostRoot
from controlplane.cluster.client import Answer
from controlplane.controllers.root_certificates import MANAGER
from tests.support.cluster_memory import ClusterMemory

PATH = "/api/v1/namespaces/istio-system/configmaps/istio-ca-root-cert"


def roots(manager: str, data: Any = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "istio-ca-root-cert",
            "namespace": "istio-system",
            "managedFields": [{"manager": "kubectl"}, {"manager": manager}],
        },
        "data": {"root-cert.pem": "PEM"} if data is None else data,
    }


async def reason(cluster: ClusterMemory, *, is_replaced: bool = False) -> str:
    lost = LostRoot(cluster, namespace="istio-system", is_replaced=is_replaced)
    return await lost.why_not_begin()


@pytest.mark.proves("KY-6")
async def test_roots_of_ours_without_keys_are_lost() -> None:
    cluster = ClusterMemory()
    cluster.put(PATH, roots(MANAGER))
    assert "keys are lost" in await reason(cluster)
    assert "ISTIOD_LITE_REPLACES_LOST_ROOT" in await reason(cluster)


@pytest.mark.refutes("KY-6")
async def test_a_mesh_without_roots_of_ours_may_begin() -> None:
    cluster = ClusterMemory()
    assert await reason(cluster) == ""
    cluster.put(PATH, roots("pilot-discovery"))
    assert await reason(cluster) == ""
    cluster.put(PATH, roots(MANAGER, {}))
    assert await reason(cluster) == ""


@pytest.mark.refutes("KY-6")
async def test_who_says_so_replaces_a_lost_root() -> None:
    cluster = ClusterMemory()
    cluster.put(PATH, roots(MANAGER))
    assert await reason(cluster, is_replaced=True) == ""


@pytest.mark.proves("KY-6")
async def test_what_cannot_be_found_out_is_no_leave() -> None:
    cluster = ClusterMemory()
    cluster.is_away = True
    assert "is not known" in await reason(cluster)
    cluster.is_away = False
    cluster.fail("GET", Answer(403, json.dumps({"kind": "Status", "code": 403}).encode()))
    assert "is not known" in await reason(cluster)
    cluster.fail("GET", Answer(200, b"[]"))
    assert "keys are lost" in await reason(cluster)
