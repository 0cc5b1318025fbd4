"""What a lab runs beside its control plane: committed pods come in, processes and proxies go out.

One node proxy for every node with a ztunnel pod, one Envoy for every pod of a waypoint, as the
manifests have them at any time.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import Clock
from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.envoy_errors import EnvoyError
from controlplane.lab.node.access import AccessRecord
from controlplane.lab.node.proxy import Applications, Node
from controlplane.lab.node_proxies import proxy_on
from controlplane.lab.waypoint_proxy import WaypointProxy
from controlplane.lab.ztunnel.client import Target
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from controlplane.model.resident import Resident

_TOKEN_LIFETIME: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a lab is run with: where to write, where applications listen, how Envoys are run."""

    directory: Path
    applications: Applications
    random: Random
    clock: Clock
    envoy: EnvoyOptions | None = None


@dataclass(slots=True, kw_only=True)
class Kept:
    """What runs now. ``troubles`` is what does not, and why, by name."""

    nodes: dict[str, Node] = field(default_factory=dict)
    waypoints: dict[Name, WaypointProxy] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    records: list[AccessRecord] = field(default_factory=list)


async def keep(process: Process, kept: Kept, means: Means) -> None:
    """Run what the manifests want until cancelled, then end all of it."""
    changed = asyncio.Event()
    process.pipeline.graph.on_commit(lambda _: changed.set())
    changed.set()
    stacks: dict[Name, AsyncExitStack] = {}
    try:
        while True:
            await changed.wait()
            changed.clear()
            await _keep_nodes(process, kept, means, stacks)
            if find_envoy() is not None:
                await _keep_waypoints(process, kept, means, stacks)
    finally:
        for stack in reversed(tuple(stacks.values())):
            await stack.aclose()


def wanted_nodes(process: Process) -> set[str]:
    """Return the nodes that have a ztunnel pod."""
    return {
        pod.node
        for _, pod in process.pipeline.world.residents.items()
        if (pod.namespace, pod.service_account) == ("istio-system", "ztunnel") and pod.node
    }


def wanted_waypoints(process: Process) -> dict[Name, Resident]:
    """Return the pods of waypoints."""
    residents = process.pipeline.world.residents.items()
    return {pod.key: pod for _, pod in residents if pod.gateway}


def waypoint_proxy(
    process: Process, pod: Resident, address: str, directory: Path, means: Means
) -> WaypointProxy:
    """Return the Envoy of a waypoint's pod, which shows the pod's own token."""
    key = load_issuer_key(process.settings.data_dir)
    request = TokenRequest(
        account=Name(pod.namespace, pod.service_account),
        audiences=("istio-ca",),
        lifetime=_TOKEN_LIFETIME,
        pod=pod.name,
        pod_uid=pod.uid,
        node=pod.node,
    )
    return WaypointProxy(
        pod,
        address=address,
        target=Target(
            address=f"{process.host}:{process.xds_port}",
            root_certificates=process.root_file.read_bytes(),
            server_name="localhost",
        ),
        token=lambda: issue_token(key, request, means.clock),
        directory=directory,
        options=means.envoy,
    )


async def _keep_nodes(
    process: Process, kept: Kept, means: Means, stacks: dict[Name, AsyncExitStack]
) -> None:
    wanted = wanted_nodes(process)
    for name in kept.nodes.keys() - wanted:
        del kept.nodes[name]
        await stacks.pop(Name("", name)).aclose()
    for name in sorted(wanted - kept.nodes.keys()):
        node = Node(
            proxy_on(process, name, means.clock),
            means.applications,
            means.clock,
            listener=kept.records.append,
            random=Random(means.random.getrandbits(64)),  # noqa: S311 - a lab's load balancing
        )
        stacks[Name("", name)] = stack = AsyncExitStack()
        kept.nodes[name] = await stack.enter_async_context(node)


async def _keep_waypoints(
    process: Process, kept: Kept, means: Means, stacks: dict[Name, AsyncExitStack]
) -> None:
    wanted = wanted_waypoints(process)
    for name in kept.waypoints.keys() - wanted.keys():
        del kept.waypoints[name]
        await stacks.pop(name).aclose()
    for name, pod in wanted.items():
        address = _address_of(process, pod)
        if name in kept.waypoints or not address:
            continue
        place = means.directory / "waypoints" / pod.namespace / pod.name
        place.mkdir(parents=True, exist_ok=True)
        proxy = waypoint_proxy(process, pod, address, place, means)
        stack = AsyncExitStack()
        try:
            kept.waypoints[name] = await stack.enter_async_context(proxy)
        except EnvoyError as error:
            kept.troubles[str(name)] = str(error)
        else:
            kept.troubles.pop(str(name), None)
            stacks[name] = stack


def _address_of(process: Process, pod: Resident) -> str:
    found = (
        text_from_address(workload.addresses[0])
        for _, workload in process.pipeline.world.workloads.items()
        if (workload.namespace, workload.name) == pod.key and workload.addresses
    )
    return next(found, "")
