"""The demonstration: a control plane and two node proxies on this machine, and what they say.

The bookinfo manifests are copied to a folder of their own, served by a real ``Process`` over TLS,
and changed while two reference node proxies listen. Verdicts come from what those two received.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.app.process import Process
from controlplane.clock import Clock, SystemClock
from controlplane.lab.certificates import HeldCertificate, RefusedError, fetch_certificate
from controlplane.lab.errors import LabError
from controlplane.lab.examples import example_folder
from controlplane.lab.expectations import Finding, NodeView, allows, denies, expect
from controlplane.lab.node_proxies import NodeProxy, proxy_on, ready
from controlplane.lab.ztunnel.audit import Auditor
from controlplane.lab.ztunnel.client import ZtunnelClient
from controlplane.lab.ztunnel.decode import ADDRESS_TYPE
from controlplane.lab.ztunnel.errors import WaitTimedOutError
from controlplane.lab.ztunnel.route import Way
from controlplane.settings import Settings
from controlplane.store.database import Database, database_url
from controlplane.store.ledger_queries import LedgerFilter, refused_rows
from controlplane.store.ledger_rows import LedgerRow

NODES: Final = ("node-1", "node-2")
_PATIENCE: Final = 20.0
_LEDGER_LOOKS: Final = 100
_SLEEP: Final = "cluster.local/ns/bookinfo/sa/sleep"
_NOTSLEEP: Final = "cluster.local/ns/bookinfo/sa/notsleep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of the manifests: what was done, what arrived where, and after how long."""

    what: str
    arrived: dict[str, float | None]
    """Milliseconds until each node that it concerns had applied it; None: it never came."""

    @property
    def reached_all(self) -> bool:
        """Return whether every node that it concerns got it."""
        return bool(self.arrived) and None not in self.arrived.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that had to be refused: who asked for what, the answer, and its ledger row."""

    node: str
    identity: str
    answer: str
    row: LedgerRow | None


class Demonstration:
    """A running control plane and its node proxies. Made by ``demonstration``."""

    def __init__(
        self, process: Process, folder: Path, proxies: dict[str, NodeProxy], clock: Clock
    ) -> None:
        self.process = process
        self.folder = folder
        self.proxies = proxies
        self.clients = clients = {name: proxy.client for name, proxy in proxies.items()}
        self._clock = clock
        self._auditors = {name: Auditor() for name in clients}
        for name, client in clients.items():
            self._auditors[name].watch(client.session)

    @property
    def nodes(self) -> list[NodeView]:
        """Return what each node knows now."""
        return [NodeView(name, client.state) for name, client in self.clients.items()]

    async def first_state(self) -> list[Finding]:
        """Wait until both nodes are ready and judge what they were told first."""
        for client in self.clients.values():
            await self._until(client, lambda client: client.session.is_ready)
        nodes = self.nodes
        return [
            expect("every node is ready", nodes, self._unready),
            expect("workloads of bookinfo speak HBONE", nodes, _without_hbone),
            expect("the proxies themselves are pods like any other", nodes, _without_proxies),
            expect("sleep may call productpage", nodes, allows("sleep", "productpage", 9080)),
            expect("notsleep may not", nodes, denies("notsleep", "productpage", 9080)),
            expect("nobody may in plaintext", nodes, denies("", "productpage", 9080)),
            expect("plaintext to details is refused too", nodes, denies("", "details", 9080)),
            expect("notsleep may call details", nodes, allows("notsleep", "details", 9080)),
            expect("only the node of productpage holds its policy", nodes, _strays("productpage")),
            expect("traffic to reviews goes through the waypoint", nodes, _past_the_waypoint),
        ]

    async def certificates(self) -> dict[str, list[HeldCertificate]]:
        """Get a certificate for every workload identity on each node, as its proxy does.

        Raises:
            RefusedError: one was refused.
        """
        held: dict[str, list[HeldCertificate]] = {}
        for name, proxy in self.proxies.items():
            held[name] = [
                await fetch_certificate(proxy.target, identity, proxy.token)
                for identity in self._identities(name)
            ]
        return held

    async def refused_certificate(self) -> Refusal:
        """Have a node proxy ask for an identity that runs on the other node only."""
        here, there = NODES
        elsewhere = sorted(set(self._identities(there)) - set(self._identities(here)))
        if not elsewhere:
            raise LabError("every identity runs on both nodes")
        proxy = self.proxies[here]
        answer = "a certificate"
        try:
            await fetch_certificate(proxy.target, elsewhere[0], proxy.token)
        except RefusedError as error:
            answer = str(error)
        return Refusal(
            node=here, identity=elsewhere[0], answer=answer, row=await self._row_of(elsewhere[0])
        )

    async def _row_of(self, identity: str) -> LedgerRow | None:
        """Return the ledger's row of a refused identity, once the ledger has written it."""
        settings = self.process.settings
        database = Database(database_url(settings.database_url, data_dir=settings.data_dir))
        try:
            for _ in range(_LEDGER_LOOKS):
                rows = await refused_rows(database, LedgerFilter(identity=identity))
                if rows:
                    return rows[0]
                await self._clock.sleep(0.05)
        finally:
            await database.close()
        return None

    def _identities(self, node: str) -> list[str]:
        workloads = self.clients[node].state.workloads.by_uid.values()
        return sorted(
            {
                workload.identity
                for workload in workloads
                if workload.node == node and workload.tunnel.name == "HBONE"
            }
        )

    async def allow_notsleep(self) -> Edit:
        """Name a second caller in the policy of productpage."""
        line = f"              - {_SLEEP}\n"
        return await self._edit(
            "40-policies.yaml",
            lambda text: text.replace(line, f"{line}              - {_NOTSLEEP}\n"),
            "AuthorizationPolicy productpage-callers names notsleep too",
            lambda node: not allows("notsleep", "productpage", 9080)(node),
        )

    async def scale_details(self) -> Edit:
        """Run a second details."""
        return await self._edit(
            "10-bookshop.yaml",
            lambda text: _with_replicas(text, "details-v1", 2),
            "Deployment details-v1 has two replicas",
            lambda node: len(node.instances("details")) == 2,
        )

    async def break_policies(self) -> Edit:
        """Leave the policy file half written, then scale again: policies must stay in force."""
        path = self.folder / "40-policies.yaml"
        whole = path.read_text()
        path.write_text(whole[: len(whole) // 2] + "\n  - {")
        edit = await self._edit(
            "10-bookshop.yaml",
            lambda text: _with_replicas(text, "ratings-v1", 2),
            "a policy file is left half written while ratings-v1 is scaled",
            lambda node: (
                len(node.instances("ratings")) == 2
                and not allows("sleep", "productpage", 9080)(node)
                and not denies("", "productpage", 9080)(node)
            ),
        )
        path.write_text(whole)
        return edit

    async def reconnect(self) -> list[Finding]:
        """Break each connection: the node comes back and is sent nothing it has already."""
        findings = []
        for name, client in self.clients.items():
            before = client.session.stream
            client.drop()
            came_back = await self._until(client, _first_addresses_after(before))
            last = client.session.last
            again = len(last.response.updates) if came_back and last else -1
            findings.append(
                Finding(
                    expected=f"{name} reconnects and no address is sent again",
                    met=again == 0,
                    detail="" if again == 0 else f"{again} resources were sent",
                )
            )
        return findings

    def verdicts(self) -> list[Finding]:
        """Judge everything that was seen from the beginning."""
        nacks = [nack for client in self.clients.values() for nack in client.nacks]
        violations = [
            f"{name}: {violation}"
            for name, auditor in self._auditors.items()
            for violation in auditor.violations
        ]
        return [
            Finding(
                expected="no response was refused by a node",
                met=not nacks,
                detail="; ".join(nacks),
            ),
            Finding(
                expected="no workload ever arrived before a policy it lists",
                met=not violations,
                detail="; ".join(violations),
            ),
        ]

    async def _edit(
        self,
        file: str,
        change: Callable[[str], str],
        what: str,
        visible: Callable[[NodeView], bool],
    ) -> Edit:
        path = self.folder / file
        before = path.read_text()
        after = change(before)
        if after == before:
            raise LabError(f"the demonstration could not change {path}")
        concerned = {
            name: client
            for name, client in self.clients.items()
            if not visible(NodeView(name, client.state))
        }
        fresh = path.with_suffix(".new")
        fresh.write_text(after)
        started = self._clock.monotonic()
        fresh.replace(path)

        async def arrival(name: str, client: ZtunnelClient) -> tuple[str, float | None]:
            came = await self._until(client, lambda client: visible(NodeView(name, client.state)))
            return name, (self._clock.monotonic() - started) * 1000 if came else None

        arrivals = await asyncio.gather(
            *(arrival(name, client) for name, client in concerned.items())
        )
        return Edit(what=what, arrived=dict(arrivals))

    async def _until(
        self, client: ZtunnelClient, condition: Callable[[ZtunnelClient], bool]
    ) -> bool:
        try:
            await client.wait_for(condition, _PATIENCE)
        except WaitTimedOutError:
            return False
        return True

    def _unready(self, node: NodeView) -> str:
        return "" if self.clients[node.name].session.is_ready else "not ready"


@asynccontextmanager
async def demonstration(
    folder: Path, *, ports: tuple[int, int] = (0, 0)
) -> AsyncIterator[Demonstration]:
    """Start everything on loopback; ``folder`` receives the manifests and the data folder.

    Args:
        folder: an empty folder.
        ports: of discovery and of the admin side; any free ones by default.

    Raises:
        StartupError: a port is taken.
    """
    manifests = folder / "bookinfo"
    shutil.copytree(example_folder("bookinfo"), manifests)
    clock = SystemClock()
    process = Process(
        Settings(
            files=manifests,
            data_dir=folder / "data",
            xds_port=ports[0],
            admin_port=ports[1],
        )
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.run(), name="control plane")
        started = tasks.create_task(process.started.wait())
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        try:
            if running.done():
                running.result()
            await ready(process)
            proxies = {name: proxy_on(process, name, clock) for name in NODES}
            async with AsyncExitStack() as stack:
                for proxy in proxies.values():
                    await stack.enter_async_context(proxy.client)
                yield Demonstration(process, manifests, proxies, clock)
        finally:
            process.stop()


def _first_addresses_after(stream: int) -> Callable[[ZtunnelClient], bool]:
    def arrived(client: ZtunnelClient) -> bool:
        last = client.session.last
        return (
            last is not None
            and last.stream > stream
            and last.is_first
            and last.response.type_url == ADDRESS_TYPE
        )

    return arrived


def _with_replicas(text: str, deployment: str, replicas: int) -> str:
    head, name, rest = text.partition(f"  name: {deployment}\n")
    return head + name + rest.replace("  replicas: 1\n", f"  replicas: {replicas}\n", 1)


def _without_hbone(node: NodeView) -> str:
    wrong = [
        workload.name
        for workload in node.workloads()
        if workload.namespace == "bookinfo"
        and workload.canonical_name != "waypoint"
        and workload.tunnel.name != "HBONE"
    ]
    found = any(workload.namespace == "bookinfo" for workload in node.workloads())
    return ", ".join(wrong) if found else "no workload of bookinfo is known"


def _without_proxies(node: NodeView) -> str:
    known = {workload.node for workload in node.instances("ztunnel")}
    return "" if known == set(NODES) else f"proxies are known on {sorted(known)}"


def _strays(application: str) -> Callable[[NodeView], str]:
    def judge(node: NodeView) -> str:
        held = any(application in name for name in node.state.policies.by_name)
        if held == node.hosts(application):
            return ""
        return "holds it" if held else "does not hold it"

    return judge


def _past_the_waypoint(node: NodeView) -> str:
    route = node.route("sleep", "reviews", 9080)
    if route is None:
        return "sleep or reviews is not known"
    return "" if route.way is Way.WAYPOINT else route.way.value
