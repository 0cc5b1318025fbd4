"""What comes to a pod: HBONE and plaintext come in, connections that policies let in go on.

Plaintext is judged like a peer without identity. When policies change, connections that are open
are judged again (docs/protocol/ztunnel.md ZT-40 to ZT-49).
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self

from controlplane.clock import Clock
from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.hbone_terminator import Access, Terminator
from controlplane.lab.node.access import INBOUND, AccessLog, AccessRecord
from controlplane.lab.node.pipe import joined
from controlplane.lab.plain import Address, break_off
from controlplane.lab.ztunnel.network import NetworkAddress
from controlplane.lab.ztunnel.policies import Connection, Verdict, evaluate
from controlplane.lab.ztunnel.route import HBONE_PORT
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Workload

_PATIENCE: Final = 5.0
_UNAUTHORIZED: Final = 401
_BAD_REQUEST: Final = 400

Application = Callable[[Workload, int], Address | None]
"""Returns where the application of a workload listens on a port, None where none does."""


class InboundPod:
    """One captured pod; use it as ``async with``. What comes as plaintext is given to ``plain``."""

    def __init__(
        self,
        workload: Workload,
        held: HeldCertificate,
        *,
        state: MeshState,
        application: Application,
        log: AccessLog,
        clock: Clock,
    ) -> None:
        self.uid = workload.uid
        self._last = workload
        self.address = str(workload.addresses[0])
        self._network = workload.network
        self._state = state
        self._application = application
        self._log = log
        self._clock = clock
        self._open: dict[Callable[[], None], tuple[Workload, Connection]] = {}
        self._records: dict[int, AccessRecord] = {}
        self.terminator = Terminator(
            held,
            admits=lambda _: True,
            application=lambda _: None,
            judge=self._judge,
            completed=self._completed,
            host=self.address,
            port=HBONE_PORT,
            clock=clock,
        )

    async def __aenter__(self) -> Self:
        await self.terminator.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for close in tuple(self._open):
            close()
        await self.terminator.__aexit__(None, None, None)

    def policies_changed(self) -> None:
        """Judge everything that is open again and break off what is no longer let in.

        By the workload as it was when the connection came: a new list of policies alone ends none.
        """
        for close, (workload, connection) in tuple(self._open.items()):
            if not evaluate(self._state, workload, connection).allowed:
                close()

    def _workload(self) -> Workload:
        """Return the pod as it is known, or as it was when it was known last.

        A pod that ends serves for a moment those who have not heard of it yet.
        """
        self._last = self._state.workloads.by_uid.get(self.uid, self._last)
        return self._last

    def _judge(self, access: Access) -> Address | int:
        """Return where a tunnel leads, or the status that says why it does not."""
        host, _, port = access.authority.rpartition(":")
        workload = self._workload()
        record = self._begin(
            "{}:{}".format(*access.source),
            "{}:{}".format(*access.destination),
            identity=access.identity,
            source_ip=access.source[0],
            hbone=access.authority,
        )
        self._records[id(access)] = record
        if host.strip("[]") != self.address or not port.isdecimal():
            record.error = "not a destination of this workload"
            return _BAD_REQUEST
        connection = Connection(
            source_ip=ip_address(access.source[0]),
            destination_ip=ip_address(self.address),
            destination_port=int(port),
            identity=access.identity,
        )
        verdict = evaluate(self._state, workload, connection)
        if not verdict.allowed:
            record.error = f"policy rejection: {verdict.reason.value}{_by(verdict)}"
            return _UNAUTHORIZED
        target = self._application(workload, int(port))
        if target is None:
            record.error = "nothing listens there"
            return 503
        self._open[access.stream.reset] = workload, connection
        return target

    def _completed(self, access: Access) -> None:
        self._open.pop(access.stream.reset, None)
        record = self._records.pop(id(access), None)
        if record is not None:
            record.bytes_sent = access.stream.bytes_sent
            record.bytes_received = access.stream.bytes_received
            self._log.complete(record, access.duration or 0.0)

    async def plain(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection that came to a port of the pod as it is, without an identity."""
        source: Address = writer.get_extra_info("peername")[:2]
        began = self._clock.monotonic()
        record = self._begin(
            "{}:{}".format(*source), f"{self.address}:{port}", identity="", source_ip=source[0]
        )
        connection = Connection(
            source_ip=ip_address(source[0]),
            destination_ip=ip_address(self.address),
            destination_port=port,
        )

        def close() -> None:
            break_off(writer)

        try:
            workload = self._workload()
            verdict = evaluate(self._state, workload, connection)
            if not verdict.allowed:
                record.error = f"policy rejection: {verdict.reason.value}{_by(verdict)}"
                close()
                return
            target = self._application(workload, port)
            if target is None:
                record.error = "nothing listens there"
                close()
                return
            self._open[close] = workload, connection
            async with asyncio.timeout(_PATIENCE):
                there = await asyncio.open_connection(*target)
            record.bytes_received, record.bytes_sent = await joined((reader, writer), there)
        except (OSError, TimeoutError) as error:
            record.error = record.error or str(error) or type(error).__name__
            close()
        finally:
            self._open.pop(close, None)
            self._log.complete(record, self._clock.monotonic() - began)

    def _begin(
        self, source: str, destination: str, *, identity: str, source_ip: str, hbone: str = ""
    ) -> AccessRecord:
        workloads = self._state.workloads
        record = AccessRecord(
            direction=INBOUND,
            source=source,
            destination=destination,
            hbone=hbone,
            source_identity=identity,
        )
        record.comes_from(workloads.at(NetworkAddress(self._network, ip_address(source_ip))))
        own = workloads.by_uid.get(self.uid)
        record.goes_to(own)
        if own is not None:
            record.destination_identity = own.identity
            port = (record.hbone or destination).rpartition(":")[2]
            record.service = next(
                (
                    key.hostname
                    for key, ports in own.services
                    if port in {str(target) for _, target in ports}
                ),
                "",
            )
        return self._log.begin(record)


def _by(verdict: Verdict) -> str:
    return f" ({verdict.policy})" if verdict.policy else ""
