"""Whole processes in a cluster that is the double of the API server, and who connects to them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from controlplane.app.process import Process
from controlplane.lab.certificates import HeldCertificate, fetch_certificate
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.settings import Settings
from tests.support.authentication import a_status
from tests.support.kubernetes_api import Asked, KubernetesApi
from tests.support.kubernetes_cluster import put

CART = "spiffe://cluster.local/ns/shop/sa/cart"
ELECTIONS = frozenset(
    {
        "istio-namespace-controller-election",
        "istio-gateway-status-leader",
        "istio-ip-autoallocate",
    }
)
MESH = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-a, namespace: istio-system, uid: uid-of-ztunnel-a}
spec: {nodeName: node-1, serviceAccountName: ztunnel}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: cart-1
  namespace: shop
  uid: uid-of-cart-1
  annotations: {ambient.istio.io/redirection: enabled}
spec: {nodeName: node-1, serviceAccountName: cart}
status: {phase: Running, podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
"""


def fill(api: KubernetesApi, *namespaces: str) -> None:
    """Put the mesh of these tests, and further namespaces, into the double."""
    for name in ("istio-system", "shop", "kube-system", "kube-public", *namespaces):
        api.objects.write("namespaces", ("", name), {})
    put(api.objects, MESH)
    api.reviews[token()] = a_status(pod="ztunnel-a", uid="uid-of-ztunnel-a", node="node-1")


def token() -> str:
    """Return a token that the double's reviews accept."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"aud": ["istio-ca"], "exp": 4_000_000_000, "sub": "ztunnel-a"}
    return ".".join((part({"alg": "none"}), part(claims), "c2ln"))


def a_kubeconfig(folder: Path, api: KubernetesApi, *, token: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kubeconfig"
    user = f"{{token: {token}}}" if token else "{}"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{api.url}"}}}}]
users: [{{name: u, user: {user}}}]
"""
    )
    return path


def cluster_settings(folder: Path, api: KubernetesApi, **settings: Any) -> Settings:
    """Return settings of a replica on loopback, quick to lead."""
    # Quick to see what others did, and not to lose the lead on a machine that has much to do.
    quick = {"lease_duration": 15.0, "lease_deadline": 10.0, "lease_retry": 0.1}
    ports = dict.fromkeys(("xds_port", "admin_port", "health_port", "webhook_port"), 0)
    given = {**quick, **ports, "bind_address": "127.0.0.1", "respects_istiod": False, **settings}
    return Settings(data_dir=folder / "data", kubeconfig=a_kubeconfig(folder, api), **given)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Process]:
    """Run a process, which may not be ready; stop it in the end."""
    process = Process(settings)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        try:
            await process.started.wait()
            yield process
        finally:
            process.stop()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Process]:
    """Run a process, ready; stop it in the end."""
    async with started(settings) as process:
        await until(lambda: not process.waiting_for())
        yield process


async def until(holds: Any, seconds: float = 30.0) -> None:
    """Wait until ``holds()``; TimeoutError when it does not come to that."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - several processes, none of which tells us
            await asyncio.sleep(0.01)


async def ready(
    process: Process, *, accept: str = "*/*", port: int | None = None
) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(
            f"http://127.0.0.1:{port or process.admin_port}/ready", headers={"accept": accept}
        )


def target_of(process: Process) -> Target:
    return Target(
        address=f"localhost:{process.xds_port}",
        root_certificates=process.root_file.read_bytes(),
        token=token,
    )


def a_client(process: Process) -> ZtunnelClient:
    return ZtunnelClient(target_of(process), Session(NodeIdentity(node_name="node-1")))


async def a_certificate(process: Process) -> HeldCertificate:
    return await fetch_certificate(target_of(process), CART, token)


def is_renewal(asked: Asked) -> bool:
    """Tell whether a write only keeps an election going."""
    return asked.resource == "leases" or asked.name in ELECTIONS


def writes(api: KubernetesApi, since: int = 0) -> list[Asked]:
    """Return the writes that are no elections, the reviews left out."""
    return [
        each
        for each in api.asked[since:]
        if each.verb not in {"get", "list", "watch"}
        and each.resource != "tokenreviews"
        and not is_renewal(each)
    ]


def root_maps(api: KubernetesApi) -> dict[str, str]:
    """Return the roots by namespace, as ConfigMaps have them."""
    return {
        namespace: document["data"]["root-cert.pem"]
        for (namespace, name), document in api.objects.held["configmaps"].items()
        if name == "istio-ca-root-cert"
    }
