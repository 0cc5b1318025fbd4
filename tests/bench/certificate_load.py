"""Clients of the certificate service: a process of its own, orders in, answers out (``orders``).

``{"prepare": nodes}`` makes the requests of so many node proxies, 20 each, keys and all.
``{"ask": port, "root": file, "connections": n, "seconds": s}`` keeps one request in flight on each
of n connections. ``{"arrive": port, "root": file}`` lets all proxies arrive at once, each on a
connection of its own with 8 requests in flight, and come back as node proxies do: after 1 s with a
fifth of jitter, twice as long each time. ``{"send": name, "port": port, "root": file, "times": n}``
sends one hostile request n times, 16 at a time, on one connection.
"""

import asyncio
import random
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ca.service import METHOD, SERVICE
from tests.bench import certificate_fleet
from tests.bench.hostile import hostile_requests
from tests.bench.measure import percentile
from tests.bench.orders import Order, obey
from tests.support.issuing import a_csr, a_request, chain_of

_PATH = f"/{SERVICE}/{METHOD}"
_FETCHES_OF_A_PROXY = 8
_HOSTILE_AT_ONCE = 16
_LONGEST_PAUSE = 150.0
_OPTIONS = [
    ("grpc.ssl_target_name_override", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
]

Headers = tuple[tuple[str, str], ...]


class Load:
    """All node proxies of this process and the requests they make."""

    def __init__(self) -> None:
        self._headers: list[Headers] = []
        self._messages: list[list[bytes]] = []
        self._hostile = {each.name: each for each in hostile_requests()}

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Do what the description of this module says."""
        if "prepare" in order:
            self._prepare(order["prepare"])
            return {}
        credentials = grpc.ssl_channel_credentials(Path(order["root"]).read_bytes())  # noqa: ASYNC240 - before the load starts
        if "ask" in order:
            return await self._ask(order, credentials)
        if "arrive" in order:
            return await self._arrive(order["arrive"], credentials)
        return await self._send(order, credentials)

    def _prepare(self, nodes: int) -> None:
        for node in range(nodes):
            self._headers.append(_headers(certificate_fleet.token(node)))
            self._messages.append(
                [_message(node, number) for number in range(certificate_fleet.IDENTITIES)]
            )

    async def _ask(self, order: Order, credentials: grpc.ChannelCredentials) -> dict[str, Any]:
        """Ask without a pause; each connection is shared by its part of the proxies."""
        connections = order["connections"]
        channels = [_channel(order["ask"], credentials) for _ in range(connections)]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        turns: list[float] = []
        spent, started = time.process_time(), time.monotonic()
        until = started + order["seconds"]

        async def ask(number: int) -> None:
            call = channels[number].unary_unary(_PATH)
            proxies = range(number, len(self._headers), connections)
            while True:
                for index in range(certificate_fleet.IDENTITIES):
                    for proxy in proxies:
                        began = time.monotonic()
                        if began >= until:
                            return
                        message = self._messages[proxy][index]
                        answer = await call(message, metadata=self._headers[proxy])
                        turns.append(time.monotonic() - began)
                        assert len(answer) > len(message), "a chain"

        await asyncio.gather(*map(ask, range(connections)))
        seconds = time.monotonic() - started
        spent = time.process_time() - spent
        await asyncio.gather(*(channel.close() for channel in channels))
        return {
            "certificates": len(turns),
            "per_second": len(turns) / seconds,
            "p50_ms": percentile(turns, 0.5) * 1e3,
            "p99_ms": percentile(turns, 0.99) * 1e3,
            "client_cpu_us": spent / len(turns) * 1e6,
        }

    async def _arrive(self, port: int, credentials: grpc.ChannelCredentials) -> dict[str, Any]:
        refusals: Counter[str] = Counter()
        done: list[float] = []
        connected = [0.0] * len(self._headers)
        served = [0.0] * len(self._headers)
        started = time.monotonic()

        async def fetch(call: Any, turn: asyncio.Semaphore, proxy: int, message: bytes) -> None:
            pause = 1.0
            while True:
                try:
                    async with turn:
                        chain_of(await call(message, metadata=self._headers[proxy]))
                except grpc.aio.AioRpcError as error:
                    refusals[error.code().name] += 1
                    await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    done.append(time.monotonic() - started)
                    return

        async def proxy(number: int) -> None:
            turn = asyncio.Semaphore(_FETCHES_OF_A_PROXY)
            async with _channel(port, credentials) as channel:
                await channel.channel_ready()
                connected[number] = time.monotonic() - started
                call = channel.unary_unary(_PATH)
                await asyncio.gather(
                    *(fetch(call, turn, number, each) for each in self._messages[number])
                )
                served[number] = time.monotonic() - started

        await asyncio.gather(*map(proxy, range(len(self._headers))))
        return {
            "certificates": len(done),
            "seconds": max(done),
            "connected_p50_seconds": percentile(connected, 0.5),
            "connected_seconds": max(connected),
            "certificate_p50_seconds": percentile(done, 0.5),
            "p50_seconds": percentile(served, 0.5),
            "p99_seconds": percentile(served, 0.99),
            "refusals": dict(refusals),
        }

    async def _send(self, order: Order, credentials: grpc.ChannelCredentials) -> dict[str, Any]:
        hostile = self._hostile[order["send"]]
        ends: Counter[str] = Counter()
        numbers = count()
        async with _channel(order["port"], credentials) as channel:
            await channel.channel_ready()
            call = channel.unary_unary(_PATH)

            async def send() -> None:
                try:
                    metadata = _headers(hostile.token(next(numbers)))
                    chain_of(await call(hostile.message, metadata=metadata))
                    ends["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    ends[error.code().name] += 1

            for _ in range(order["times"] // _HOSTILE_AT_ONCE):
                await asyncio.gather(*(send() for _ in range(_HOSTILE_AT_ONCE)))
        return {"ends": dict(ends)}


def _message(node: int, number: int) -> bytes:
    identity = certificate_fleet.identity(node, number)
    csr = a_csr(identity, key=ec.generate_private_key(ec.SECP256R1()))
    return a_request(csr, named=str(identity))


def _headers(token: str) -> Headers:
    return (("authorization", f"Bearer {token}"), ("clusterid", "Kubernetes"))


def _channel(port: int, credentials: grpc.ChannelCredentials) -> Any:
    # Not typed: the stubs want serialisers, and messages are bytes here.
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=_OPTIONS)


if __name__ == "__main__":
    uvloop.run(obey(Load().carry_out))
