"""Debug questions on state-of-the-world streams."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as PackedMessage

from controlplane.authentication.caller import Caller, Metadata
from controlplane.xds.debug import DEBUG_TYPE, IDLE, DebugQuestion, DebugStream, read_question
from controlplane.xds.errors import ForbiddenError, MalformedRequestError
from tests.support.discovery import FakeClock

CALLER = Caller(namespace="istio-system", service_account="istioctl", cluster="c")


class Answers:
    identifier = '{"ID":"r-1"}'

    def __init__(self) -> None:
        self.asked: list[tuple[DebugQuestion, Caller | None]] = []

    async def answer(self, question: DebugQuestion, caller: Caller | None) -> Sequence[bytes]:
        self.asked.append((question, caller))
        if question.name == "secret":
            raise ForbiddenError("not for you")
        return [PackedMessage(type_url="t", value=question.name.encode()).SerializeToString()]


class Wire:
    """A transport of lists; ``None`` at the end unless it stays open."""

    peer = "ipv4:1"
    metadata: Metadata = {}
    is_encrypted = True

    def __init__(self, *requests: bytes, stays_open: bool = False) -> None:
        self._requests = list(requests)
        self._stays_open = stays_open
        self.sent: list[Any] = []

    async def send(self, message: bytes) -> None:
        self.sent.append(discovery_pb2.DiscoveryResponse.FromString(message))

    async def receive(self) -> bytes | None:
        if self._requests:
            return self._requests.pop(0)
        if self._stays_open:
            await asyncio.Event().wait()
        return None


def a_stream(
    wire: Wire, answers: Answers | None = None, clock: FakeClock | None = None
) -> DebugStream:
    return DebugStream(wire, answers or Answers(), CALLER, clock or FakeClock())


def a_question(type_url: str, *names: str, nonce: str = "") -> bytes:
    request = discovery_pb2.DiscoveryRequest(
        type_url=type_url, resource_names=names, response_nonce=nonce
    )
    return bytes(request.SerializeToString())


@pytest.mark.proves("FL-20", "FL-21")
async def test_each_question_is_answered_once_and_acknowledgements_are_not() -> None:
    wire = Wire(
        a_question(f"{DEBUG_TYPE}/syncz"),
        a_question(f"{DEBUG_TYPE}/syncz", nonce="1"),
        a_question(f"type.googleapis.com/{DEBUG_TYPE}/config_dump", "a.ns"),
    )
    answers = Answers()
    assert await a_stream(wire, answers).run() == "the client ended the stream"
    first, second = wire.sent
    assert (first.type_url, first.control_plane.identifier) == (
        f"{DEBUG_TYPE}/syncz",
        answers.identifier,
    )
    assert [(each.type_url, each.value) for each in first.resources] == [("t", b"syncz")]
    assert second.type_url == f"type.googleapis.com/{DEBUG_TYPE}/config_dump"
    assert first.nonce != second.nonce
    assert answers.asked == [
        (DebugQuestion(name="syncz"), CALLER),
        (DebugQuestion(name="config_dump", resources=("a.ns",)), CALLER),
    ]


@pytest.mark.proves("FL-20")
def test_parameters_come_with_the_name() -> None:
    def read(type_url: str, *names: str) -> DebugQuestion:
        return read_question(
            discovery_pb2.DiscoveryRequest(type_url=type_url, resource_names=names)
        )

    assert read(DEBUG_TYPE, "config_dump?proxyID=a.ns&types=wds") == DebugQuestion(
        name="config_dump", parameters=(("proxyID", "a.ns"), ("types", "wds")), is_text=True
    )
    assert read(f"{DEBUG_TYPE}/syncz?namespace=ns") == DebugQuestion(
        name="syncz", parameters=(("namespace", "ns"),)
    )


@pytest.mark.refutes("FL-20")
@pytest.mark.parametrize(
    "request_bytes",
    [
        a_question("type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        a_question("istio.io/debugger/syncz"),
        a_question(f"{DEBUG_TYPE}/"),
        a_question(DEBUG_TYPE),
        a_question(DEBUG_TYPE, "a", "b"),
        a_question(DEBUG_TYPE, "http://evil/syncz"),
        a_question(DEBUG_TYPE, "//evil/syncz"),
        a_question(DEBUG_TYPE, "http://[/"),
        a_question(DEBUG_TYPE, "syncz?" + "&".join("a=b" for _ in range(101))),
        a_question(f"{DEBUG_TYPE}/syncz", *map(str, range(101))),
        b"\xff\xff",
    ],
)
async def test_nothing_else_is_served(request_bytes: bytes) -> None:
    wire = Wire(request_bytes)
    with pytest.raises(MalformedRequestError):
        await a_stream(wire).run()
    assert wire.sent == []


async def test_what_is_wrong_is_said() -> None:
    wire = Wire(a_question("type.googleapis.com/what.Ever"))
    with pytest.raises(MalformedRequestError, match=r"what\.Ever.*istio\.io/debug"):
        await a_stream(wire).run()


@pytest.mark.proves("FL-22")
async def test_each_question_is_decided_on() -> None:
    wire = Wire(a_question(f"{DEBUG_TYPE}/syncz"), a_question(f"{DEBUG_TYPE}/secret"))
    with pytest.raises(ForbiddenError):
        await a_stream(wire).run()
    assert len(wire.sent) == 1


@pytest.mark.refutes("FL-21")
async def test_a_refusal_of_an_answer_is_no_question() -> None:
    request = discovery_pb2.DiscoveryRequest(type_url="whatever", response_nonce="1")
    request.error_detail.message = "no"
    wire = Wire(request.SerializeToString())
    await a_stream(wire).run()
    assert wire.sent == []


@pytest.mark.proves("FL-26")
async def test_a_stream_ends_when_silent_long_or_insistent() -> None:
    long = a_question(f"{DEBUG_TYPE}/syncz", "x" * 70_000)
    with pytest.raises(MalformedRequestError, match="too long"):
        await a_stream(Wire(long)).run()
    insistent = Wire(*[a_question(f"{DEBUG_TYPE}/syncz")] * 1001)
    assert await a_stream(insistent).run() == "enough asked on one stream"
    assert len(insistent.sent) == 1000
    clock = FakeClock()
    silent = a_stream(Wire(stays_open=True), clock=clock)
    clock.time += IDLE
    assert silent.ending() is None
    clock.time += 1
    assert silent.ending() == "nothing asked for too long"


@pytest.mark.refutes("FL-26")
async def test_a_stream_stays_open_until_somebody_ends_it() -> None:
    wire = Wire(a_question(f"{DEBUG_TYPE}/syncz"), stays_open=True)
    stream = a_stream(wire)
    running = asyncio.ensure_future(stream.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert (running.done(), len(wire.sent)) == (False, 1)
    stream.end("shutting down")
    stream.end("again")
    assert await running == "shutting down"
