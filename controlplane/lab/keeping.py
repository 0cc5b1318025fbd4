"""What a lab runs beside its control plane: committed pods come in, processes and proxies go out.

One node proxy for every node with a ztunnel pod, one Envoy for every pod of a waypoint, as the
manifests have them at any time.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import Clock
from controlplane.lab.ending import ended
from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.envoy_errors import EnvoyError
from controlplane.lab.errors import LabError
from controlplane.lab.node.proxy import Applications, Node
from controlplane.lab.node_proxies import proxy_on
from controlplane.lab.waypoint_proxy import WaypointProxy
from controlplane.lab.ztunnel.client import Target
from controlplane.model.names import Name
from controlplane.model.network import text_from_address
from controlplane.model.resident import Resident

if TYPE_CHECKING:
    from controlplane.lab.node.access import AccessRecord

_CLOSING: Final = 30.0
_TOKEN_LIFETIME: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a lab is run with: where to write, where applications listen, how Envoys are run."""

    directory: Path
    applications: Applications
    random: Random
    clock: Clock
    envoy: EnvoyOptions | None = None


class Keeper:
    """What runs now, and what does not and why, by name. ``records`` are of all connections."""

    def __init__(self, means: Means) -> None:
        self.nodes: dict[str, Node] = {}
        self.waypoints: dict[Name, WaypointProxy] = {}
        self.troubles: dict[str, str] = {}
        self.records: list[AccessRecord] = []
        self._means = means
        self._stacks: dict[Name, AsyncExitStack] = {}
        self._one_at_a_time = asyncio.Lock()

    async def follow(self, process: Process) -> None:
        """Run what the manifests of ``process`` want until cancelled; what runs then goes on."""
        changed = asyncio.Event()
        process.pipeline.graph.on_commit(lambda _: changed.set())
        changed.set()
        while True:
            await changed.wait()
            changed.clear()
            async with self._one_at_a_time:
                await self._keep_nodes(process)
                if find_envoy() is not None:
                    await self._keep_waypoints(process)

    async def restart_node(self, process: Process, node: str) -> None:
        """End the proxy of a node and run another, which knows nothing at first.

        Raises:
            LabError: there is none on that node.
        """
        async with self._one_at_a_time:
            if node not in self.nodes:
                raise LabError(f"no node proxy runs on {node}")
            del self.nodes[node]
            await self._stacks.pop(Name("", node)).aclose()
            await self._keep_nodes(process)

    async def close(self) -> None:
        """End everything, the newest first."""
        stacks, self._stacks = self._stacks, {}
        for stack in reversed(tuple(stacks.values())):
            await ended(stack.aclose(), seconds=_CLOSING)

    async def _keep_nodes(self, process: Process) -> None:
        means = self._means
        wanted = wanted_nodes(process)
        for name in self.nodes.keys() - wanted:
            del self.nodes[name]
            await self._stacks.pop(Name("", name)).aclose()
        for name in sorted(wanted - self.nodes.keys()):
            node = Node(
                proxy_on(process, name, means.clock),
                means.applications,
                means.clock,
                listener=self.records.append,
                random=Random(means.random.getrandbits(64)),  # noqa: S311 - load balancing
            )
            self._stacks[Name("", name)] = stack = AsyncExitStack()
            self.nodes[name] = await stack.enter_async_context(node)

    async def _keep_waypoints(self, process: Process) -> None:
        wanted = wanted_waypoints(process)
        for name in self.waypoints.keys() - wanted.keys():
            del self.waypoints[name]
            await self._stacks.pop(name).aclose()
        for name, pod in wanted.items():
            address = _address_of(process, pod)
            if name in self.waypoints or not address:
                continue
            place = self._means.directory / "waypoints" / pod.namespace / pod.name
            place.mkdir(parents=True, exist_ok=True)
            proxy = waypoint_proxy(process, pod, address, place, self._means)
            stack = AsyncExitStack()
            try:
                self.waypoints[name] = await stack.enter_async_context(proxy)
            except EnvoyError as error:
                self.troubles[str(name)] = str(error)
            else:
                self.troubles.pop(str(name), None)
                self._stacks[name] = stack


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


def _address_of(process: Process, pod: Resident) -> str:
    found = (
        text_from_address(workload.addresses[0])
        for _, workload in process.pipeline.world.workloads.items()
        if (workload.namespace, workload.name) == pod.key and workload.addresses
    )
    return next(found, "")
