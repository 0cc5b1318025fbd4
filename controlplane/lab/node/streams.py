"""A node's connections as an HTTP client wants them: a pod comes in, a network of httpcore's out.

Source: httpcore's AsyncNetworkBackend and AsyncNetworkStream.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from controlplane.lab.errors import LabError
from controlplane.lab.hbone_errors import HboneError
from controlplane.lab.node.outbound import Connected
from controlplane.lab.node.proxy import Node
from controlplane.lab.plain import Plain, break_off
from controlplane.lab.ztunnel.workload import Workload


class Backend(httpcore.AsyncNetworkBackend):
    """Connects in the name of a pod; ``failure`` is why the last connection was not made."""

    def __init__(self, node: Node, workload: Workload) -> None:
        self.failure = ""
        self._node = node
        self._workload = workload
        self._streams: list[_Stream] = []
        self._carrying: set[asyncio.Task[None]] = set()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - see above
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - see above
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection of the pod to a host of the mesh."""
        try:
            async with asyncio.timeout(timeout):
                connected = await self._node.connect(self._workload.uid, host, port)
        except (LabError, TimeoutError) as error:
            self.failure = str(error) or type(error).__name__
            raise httpcore.ConnectError(self.failure) from error
        try:
            here, there = await _pair()
        except BaseException:
            connected.abandon()
            raise
        task = asyncio.create_task(self._carry(connected, there), name="lab connection")
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        # One that never begins closes nothing.
        task.add_done_callback(lambda _: there[1].close())
        self._streams.append(_Stream(here))
        return self._streams[-1]

    async def close(self) -> None:
        """End every connection, and wait until what was carried is accounted for."""
        for stream in self._streams:
            await stream.aclose()
        carrying = set(self._carrying)
        if carrying:
            await asyncio.wait(carrying, timeout=1.0)
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts."""
        await asyncio.sleep(seconds)

    async def _carry(self, connected: Connected, there: Plain) -> None:
        try:
            await self._node.carry(connected, there)
        except (HboneError, OSError) as error:
            self.failure = str(error)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, plain: Plain) -> None:
        self._reader, self._writer = plain

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        async with asyncio.timeout(timeout):
            await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._writer.get_extra_info(info)


async def _pair() -> tuple[Plain, Plain]:
    """Return both ends of a connection within this process."""
    one, other = socket.socketpair()
    here: Plain | None = None
    try:
        here = await asyncio.open_connection(sock=one)
        return here, await asyncio.open_connection(sock=other)
    except BaseException:
        if here is not None:
            break_off(here[1])
        one.close()
        other.close()
        raise
