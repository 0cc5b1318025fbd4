"""Requests: wire bytes in, parsed messages out, without stalling the loop on large ones.

A client that comes back lists the version of everything it holds. Protobuf merges messages whose
bytes follow each other, so a large request is cut between fields and parsed part by part.
"""

from collections.abc import Generator
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from controlplane.xds.errors import MalformedRequestError

_PART = 128 * 1024

LARGE = 2 * _PART
"""Bytes of the largest request that is parsed at once."""

_LENGTH_DELIMITED = 2


def parse_request(data: bytes) -> Generator[None, None, Any]:
    """Parse a DeltaDiscoveryRequest, with a breathing point after every 128 KiB.

    Raises:
        MalformedRequestError: the bytes are not such a message.
    """
    try:
        if len(data) <= LARGE:
            return discovery_pb2.DeltaDiscoveryRequest.FromString(data)
        message = discovery_pb2.DeltaDiscoveryRequest()
        start = 0
        while start < len(data):
            end = _boundary(data, start)
            message.MergeFromString(data[start:end])
            start = end
            yield
    except (DecodeError, IndexError) as error:
        raise MalformedRequestError("the request is not a DeltaDiscoveryRequest") from error
    return message


def _boundary(data: bytes, start: int) -> int:
    """Return the end of the first field that ends more than a part behind ``start``."""
    position = start
    while position < len(data) and position - start < _PART:
        tag, position = _varint(data, position)
        if tag & 7 != _LENGTH_DELIMITED:
            # Every field of a request is length-delimited; an unknown one ends the cutting.
            return len(data)
        length, position = _varint(data, position)
        position += length
    return position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError
