"""Debug questions on state-of-the-world streams: requests in, one response to each question out.

Operators' tools ask this way for what the admin side answers over HTTP (docs/protocol/fleet.md
FL-20 to FL-26). Nothing else is served on these streams.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from controlplane.authentication.caller import Caller
from controlplane.clock import Clock
from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.transport import Transport

DEBUG_TYPE: Final = "istio.io/debug"
"""The type whose one resource name is ``<question>[?parameters]``, answered as text."""

IDLE: Final = 60.0
"""Seconds a stream may stay open without a request."""

_MOST_REQUESTS: Final = 1000
_LONGEST: Final = 64 * 1024
_MOST_NAMES: Final = 100
_PREFIXES: Final = ("type.googleapis.com/", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugQuestion:
    """What is asked: ``name`` (syncz, ...), the resource names that came with it, parameters.

    ``is_text`` asks for what HTTP would answer, as one ``Any`` of type DEBUG_TYPE.
    """

    name: str
    resources: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    is_text: bool = False


class DebugAnswers(Protocol):
    """Knows the answers, and who may have them.

    ``identifier`` names the process and its version, as ``insight.client_config`` writes it.
    """

    identifier: str

    async def answer(self, question: DebugQuestion, caller: Caller | None) -> Sequence[bytes]:
        """Return the resources of the answer, each an encoded ``google.protobuf.Any``.

        ``caller`` is None where nobody is asked who they are.

        Raises:
            ForbiddenError: the caller may not ask this.
            MalformedRequestError: nobody knows such a question, or it lacks something.
        """
        ...


class DebugStream:
    """Answers one stream's questions in the order they come; look at ``ending`` now and then."""

    def __init__(
        self, transport: Transport, answers: DebugAnswers, caller: Caller | None, clock: Clock
    ) -> None:
        self._transport = transport
        self._answers = answers
        self._caller = caller
        self._clock = clock
        self._heard_at = clock.monotonic()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def ending(self) -> str | None:
        """Return why the stream should end now, in words."""
        is_silent = self._clock.monotonic() - self._heard_at > IDLE
        return "nothing asked for too long" if is_silent else None

    def end(self, reason: str) -> None:
        """End the stream cleanly."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        """Answer until the client leaves, asks too much or ``end`` is called; return why.

        Raises:
            DiscoveryError: a request is not a question, or may not be asked.
        """
        serving = asyncio.create_task(self._serve())
        waits: list[asyncio.Future[str]] = [serving, self._ended]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return self._ended.result() if self._ended.done() else serving.result()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            self._ended.cancel()

    async def _serve(self) -> str:
        for number in count(1):
            data = await self._transport.receive()
            self._heard_at = self._clock.monotonic()
            if data is None:
                return "the client ended the stream"
            if number > _MOST_REQUESTS:
                return "enough asked on one stream"
            request = _parsed(data)
            if request.response_nonce:
                # Accepted or not: an answer is not kept in sync, there is nothing to follow up.
                continue
            resources = await self._answers.answer(read_question(request), self._caller)
            await self._transport.send(self._response(request.type_url, str(number), resources))
        raise AssertionError("counting ended")

    def _response(self, type_url: str, nonce: str, resources: Sequence[bytes]) -> bytes:
        response = discovery_pb2.DiscoveryResponse(
            version_info=nonce,
            type_url=type_url,
            nonce=nonce,
            resources=[Any.FromString(each) for each in resources],
        )
        response.control_plane.identifier = self._answers.identifier
        return bytes(response.SerializeToString())


def read_question(request: discovery_pb2.DiscoveryRequest) -> DebugQuestion:
    """Return what a request asks.

    Raises:
        MalformedRequestError: its type is none of the debug types.
    """
    names = tuple(request.resource_names)
    if len(names) > _MOST_NAMES:
        raise MalformedRequestError(f"more than {_MOST_NAMES} resource names")
    for prefix in _PREFIXES:
        kind = request.type_url.removeprefix(prefix)
        if kind == DEBUG_TYPE:
            return _text_question(names)
        if kind.startswith(f"{DEBUG_TYPE}/"):
            name, parameters = _split(kind.removeprefix(f"{DEBUG_TYPE}/"))
            return DebugQuestion(name=name, resources=names, parameters=parameters)
    raise MalformedRequestError(
        f"{request.type_url[:100]!r} is not served here: only {DEBUG_TYPE}/<name>;"
        " use DeltaAggregatedResources"
    )


def _text_question(names: tuple[str, ...]) -> DebugQuestion:
    if len(names) != 1:
        raise MalformedRequestError(f"{DEBUG_TYPE} takes exactly one resource name")
    name, parameters = _split(names[0])
    return DebugQuestion(name=name, parameters=parameters, is_text=True)


def _split(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the name and the parameters of ``name?a=b``."""
    try:
        parts = urlsplit(text)
        parameters = tuple(parse_qsl(parts.query, max_num_fields=_MOST_NAMES))
    except ValueError as error:
        raise MalformedRequestError("not a question and its parameters") from error
    if not parts.path or parts.scheme or parts.netloc:
        raise MalformedRequestError("not a question and its parameters")
    return parts.path, parameters


def _parsed(data: bytes) -> discovery_pb2.DiscoveryRequest:
    if len(data) > _LONGEST:
        raise MalformedRequestError("the request is too long")
    try:
        return discovery_pb2.DiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise MalformedRequestError("not a discovery request") from error
