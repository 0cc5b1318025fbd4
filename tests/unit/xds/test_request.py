"""Large requests are parsed in parts, to the same message."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.snapshots.frame import finished
from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.request import parse_request
from tests.support.discovery import a_request, introduced

LARGE = introduced(
    a_request(
        known={f"c//Pod/ns/{n}": f"{n:016x}" for n in range(20_000)},
        subscribe=["*", "x" * 300_000],
        nonce="7",
    )
).SerializeToString()


def test_parts_merge_to_the_whole() -> None:
    assert finished(parse_request(LARGE)) == discovery_pb2.DeltaDiscoveryRequest.FromString(LARGE)


def test_there_are_breathing_points() -> None:
    assert len(list(parse_request(LARGE))) > 4


def test_a_small_request_is_parsed_at_once() -> None:
    assert list(parse_request(a_request().SerializeToString())) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        LARGE[:-1],
        LARGE + b"\x0a",
        b"\xff" * 600_000,
        b"\x0a\xff\xff\xff\xff\xff\x7f" + LARGE,
        LARGE + b"\x0c",
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        finished(parse_request(data))
