"""A whole ambient mesh on this machine: a folder of manifests comes in, traffic can flow.

One control plane over TLS, one node proxy for every node with a ztunnel pod, one real Envoy for
every pod of a waypoint, and the applications. Pods have addresses on loopback; nothing else is
reached and nothing is left behind. Labs on one machine have ranges of their own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

from controlplane.app.process import Process
from controlplane.clock import SystemClock
from controlplane.lab.applications import HttpApplications
from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.errors import LabError
from controlplane.lab.ground import claimed_ground
from controlplane.lab.keeping import Keeper, Means, wanted_nodes, wanted_waypoints
from controlplane.lab.node.access import AccessRecord
from controlplane.lab.node.outbound import Connected
from controlplane.lab.node.proxy import Applications, Node
from controlplane.lab.node_proxies import ready
from controlplane.lab.requests import Answer, Request, send
from controlplane.lab.waypoint_proxy import WaypointProxy
from controlplane.lab.ztunnel.workload import Workload
from controlplane.model.names import Name
from controlplane.settings import Settings

_PATIENCE: Final = 20.0
_PAUSE: Final = 0.02


class Lab:
    """A running mesh. Made by ``lab``. ``process`` is its control plane, or was until it ended."""

    def __init__(self, settings: Settings, keeper: Keeper) -> None:
        self.process = Process(settings)
        self._settings = settings
        self._kept = keeper
        self._running: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def start_control_plane(self) -> None:
        """Run the control plane, again on the same port and folder if it ran before.

        Raises StartupError when it does not start.
        """
        if self._running is not None:
            port = self.process.xds_port
            self.process = Process(self._settings.model_copy(update={"xds_port": port}))
        process = self.process
        self._running = asyncio.create_task(process.run(), name="control plane")
        started = asyncio.create_task(process.started.wait())
        await asyncio.wait({self._running, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._running.done():
            self._running.result()
        await ready(process)
        self._following = asyncio.create_task(self._kept.follow(process), name="lab")

    async def stop_control_plane(self) -> None:
        """End the control plane; node proxies and waypoints go on with what they have."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self.process.stop()
        if self._running is not None:
            await self._running

    async def restart_node(self, node: str) -> None:
        """Restart the proxy of a node; its pods are served again once ``settled``."""
        await self._kept.restart_node(self.process, node)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Return the node proxies that run, by node."""
        return self._kept.nodes

    @property
    def waypoints(self) -> Mapping[Name, WaypointProxy]:
        """Return the waypoint pods that run, by name."""
        return self._kept.waypoints

    @property
    def records(self) -> list[AccessRecord]:
        """Return what node proxies tell of connections, those that are open included."""
        return self._kept.records

    def waypoint(self, gateway: str) -> WaypointProxy:
        """Return the first pod of the waypoint ``namespace/name``. Raises LabError for none."""
        for proxy in self.waypoints.values():
            if str(proxy.gateway) == gateway:
                return proxy
        raise LabError(f"no pod of the waypoint {gateway} runs")

    def workload(self, name: str) -> Workload:
        """Return the pod that ``name`` means: its own name, or that of its application.

        Raises:
            LabError: there is none.
        """
        found = [
            workload
            for node in self.nodes.values()
            for workload in node.state.workloads.by_uid.values()
            if workload.node == node.name and name in _names(workload)
        ]
        if not found:
            raise LabError(f"no pod {name} on any node")
        return min(found, key=lambda workload: workload.name)

    async def connect(self, source: str | Workload, host: str, port: int) -> Connected:
        """Return a connection of a pod through its node. Raises LabError when there is none."""
        node, workload = self._placed(source)
        return await node.connect(workload.uid, host, port)

    async def request(self, source: str | Workload, url: str, **rest: Any) -> Answer:
        """Send one request in the name of a pod; ``rest`` is that of ``Request``. Never raises."""
        try:
            node, workload = self._placed(source)
        except LabError as error:
            return Answer(failure=str(error))
        seen = len(self.records)
        answer = await send(node, workload, Request(url=url, **rest))
        return Answer(
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            failure=answer.failure,
            records=tuple(self.records[seen:]),
        )

    async def until(
        self, condition: Callable[[], bool], what: str, seconds: float = _PATIENCE
    ) -> None:
        """Wait until something is so. Raises LabError when it never is."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - nobody tells of all it may look at
                    await asyncio.sleep(_PAUSE)
        except TimeoutError as error:
            troubles = dict(self._kept.troubles)
            for node in self.nodes.values():
                troubles.update(node.troubles)
            told = "; ".join(f"{name}: {trouble}" for name, trouble in troubles.items())
            raise LabError(f"{what}: not within {seconds} s. {told}") from error

    async def settled(self, seconds: float = _PATIENCE) -> None:
        """Wait until all that the manifests want runs. Raises LabError when it does not."""
        await self.until(self.is_settled, "the mesh comes up", seconds)

    def is_settled(self) -> bool:
        """Return whether all that the manifests want runs and serves."""
        if self._following is not None and self._following.done():
            self._following.result()
        if self.nodes.keys() != wanted_nodes(self.process):
            return False
        if find_envoy() is not None and self.waypoints.keys() != set(
            wanted_waypoints(self.process)
        ):
            return False
        return all(
            node.client.session.is_ready and not node.troubles and node.wanted() == node.serves
            for node in self.nodes.values()
        )

    def _placed(self, source: str | Workload) -> tuple[Node, Workload]:
        workload = self.workload(source) if isinstance(source, str) else source
        node = self.nodes.get(workload.node)
        if node is None:
            raise LabError(f"{workload.name} is on no node of the lab")
        return node, workload


@asynccontextmanager
async def lab(
    manifests: Path,
    directory: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    applications: Applications | None = None,
    envoy: EnvoyOptions | None = None,
    seed: int | None = None,
) -> AsyncIterator[Lab]:
    """Run everything until the block ends.

    Args:
        manifests: the folder that is watched.
        directory: an empty folder for whatever has to be written.
        settings: of the control plane, beside those that make it live here.
        applications: where applications listen; HTTP services of the lab's own by default.
        envoy: how to run the Envoys.
        seed: of what node proxies leave to chance.

    Raises:
        StartupError: the control plane does not start.
        LabError: the mesh does not come about.
    """
    here: dict[str, Any] = {
        "files": manifests,
        "data_dir": directory / "data",
        "xds_port": 0,
        "admin_port": 0,
        "waypoints_listen_on_pods": True,
    }
    async with AsyncExitStack() as stack:
        mesh: Lab
        ground = stack.enter_context(claimed_ground())
        here["pod_range"] = ground.pods

        async def ask(workload: Workload, url: str) -> tuple[int, Any]:
            return await _asked(mesh, workload, url)

        if applications is None:
            applications = await stack.enter_async_context(
                HttpApplications(ask, under=ground.applications)
            )
        keeper = Keeper(
            Means(
                directory=directory,
                applications=applications,
                random=Random(seed),  # noqa: S311 - a lab's load balancing
                clock=SystemClock(),
                envoy=envoy,
            )
        )
        mesh = Lab(Settings(**{**here, **(settings or {})}), keeper)
        stack.push_async_callback(keeper.close)
        stack.push_async_callback(mesh.stop_control_plane)
        await mesh.start_control_plane()
        await mesh.settled()
        yield mesh


def _names(workload: Workload) -> tuple[str, ...]:
    application = workload.canonical_name
    return workload.name, application, f"{workload.namespace}/{application}"


async def _asked(mesh: Lab, workload: Workload, url: str) -> tuple[int, Any]:
    answer = await mesh.request(workload, url)
    with suppress(ValueError):
        return answer.status, json.loads(answer.body)
    return answer.status, None
