"""Node proxies of the lab: the ztunnel pods that the manifests run, each a reference client.

A running ``Process`` and the name of a node come in; a client that shows the pod's own token goes
out.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import Clock
from controlplane.lab.errors import LabError
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.model.names import Name
from controlplane.model.resident import NodeAccount

_PATIENCE: Final = 20.0
_TOKEN_LIFETIME: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProxy:
    """One reference node proxy: its client, where it connects and the token it shows."""

    client: ZtunnelClient
    target: Target
    token: Callable[[], str]


async def ready(process: Process) -> None:
    """Wait until the manifests are loaded: pods have to be known before they have tokens."""
    committed = asyncio.Event()
    process.pipeline.graph.on_commit(lambda _: committed.set())
    async with asyncio.timeout(_PATIENCE):
        while process.waiting_for():
            committed.clear()
            await committed.wait()


def proxy_on(process: Process, node: str, clock: Clock) -> NodeProxy:
    """Return the proxy of a node: the ztunnel pod that the manifests put there."""
    residents = process.residents.at(NodeAccount(node, "istio-system", "ztunnel"))
    if not residents:
        raise LabError(f"no ztunnel runs on {node}")
    pod = residents[0]
    key = load_issuer_key(process.settings.data_dir)
    request = TokenRequest(
        account=Name(pod.namespace, pod.service_account),
        audiences=("istio-ca",),
        lifetime=_TOKEN_LIFETIME,
        pod=pod.name,
        pod_uid=pod.uid,
        node=node,
    )

    def token() -> str:
        return issue_token(key, request, clock)

    target = Target(
        address=f"{process.host}:{process.xds_port}",
        root_certificates=process.root_file.read_bytes(),
        server_name="localhost",
        token=token,
    )
    session = Session(NodeIdentity(pod_name=pod.name, node_name=node))
    return NodeProxy(client=ZtunnelClient(target, session, clock=clock), target=target, token=token)
