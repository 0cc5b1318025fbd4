"""The envelope: a message's bytes in, the ``Resource`` that holds them out.

The envelope is written by hand: two length prefixes and two names cost a fifth of building the
message classes, and what is in it never varies (docs/protocol/messages.md MSG-1, MSG-2).
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from controlplane.encode.resource import Resource

TYPE_PREFIX: Final = "type.googleapis.com/"
ADDRESS_TYPE: Final = TYPE_PREFIX + "istio.workload.Address"
WORKLOAD_TYPE: Final = TYPE_PREFIX + "istio.workload.Workload"
AUTHORIZATION_TYPE: Final = TYPE_PREFIX + "istio.security.Authorization"
CLUSTER_TYPE: Final = TYPE_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT_TYPE: Final = TYPE_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER_TYPE: Final = TYPE_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_TYPE: Final = TYPE_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET_TYPE: Final = TYPE_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

# Tags of length-delimited fields 1, 2 and 3: (number << 3) | 2.
_FIELD_1: Final = b"\x0a"
_FIELD_2: Final = b"\x12"
_FIELD_3: Final = b"\x1a"
_VERSION_BYTES: Final = 8
_DIGEST_BYTES: Final = 16


def delimited(tag: bytes, content: bytes) -> bytes:
    """Return one length-delimited protobuf field: ``tag``, length as varint, ``content``."""
    return prefix_of(tag, len(content)) + content


def prefix_of(tag: bytes, length: int) -> bytes:
    """Return what stands before the ``length`` bytes of a length-delimited protobuf field."""
    if length < 0x80:
        return tag + bytes((length,))
    prefix = bytearray(tag)
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix)


_TYPE_FIELDS: Final = {
    url: delimited(_FIELD_1, url.encode())
    for url in (
        ADDRESS_TYPE,
        WORKLOAD_TYPE,
        AUTHORIZATION_TYPE,
        CLUSTER_TYPE,
        ENDPOINT_TYPE,
        LISTENER_TYPE,
        ROUTE_TYPE,
        SECRET_TYPE,
    )
}


def content_version(content: bytes, beside: bytes = b"") -> str:
    """Return the version of ``content``: 16 hex digits, the same in every process.

    ``beside`` is what also decides the version without being on the wire; at most 64 bytes.
    """
    return blake2b(content, digest_size=_VERSION_BYTES, key=beside).hexdigest()


def envelope(name: str, version: str, type_url: str, message: bytes) -> bytes:
    """Return a serialized envoy.service.discovery.v3.Resource around a serialized message.

    Raises UnicodeEncodeError when ``name`` is not valid Unicode.
    """
    anything = _TYPE_FIELDS[type_url] + delimited(_FIELD_2, message)
    return (
        delimited(_FIELD_1, version.encode())
        + delimited(_FIELD_2, anything)
        + delimited(_FIELD_3, name.encode())
    )


def resource(name: str, message: bytes, type_url: str, *, beside: bytes = b"") -> Resource:
    """Return the resource of one message; its version is the hash of ``message`` and ``beside``.

    Raises UnicodeEncodeError when ``name`` is not valid Unicode.
    """
    version = content_version(message, beside)
    return Resource(name, version, envelope(name, version, type_url, message))


def resource_of_parts(
    name: str, parts: Sequence[bytes], type_url: str, *, digests: Iterable[bytes]
) -> Resource:
    """Return the resource of a message that is the concatenation of ``parts``.

    For large messages of which little changes: they are copied once, and the version is the hash of
    ``digests``, which together stand for all parts and are at hand. Raises UnicodeEncodeError when
    ``name`` is not valid Unicode.
    """
    version = content_version(b"".join(digests))
    length = sum(map(len, parts))
    type_field, value = _TYPE_FIELDS[type_url], prefix_of(_FIELD_2, length)
    body = b"".join(
        (
            delimited(_FIELD_1, version.encode()),
            prefix_of(_FIELD_2, len(type_field) + len(value) + length),
            type_field,
            value,
            *parts,
            delimited(_FIELD_3, name.encode()),
        )
    )
    return Resource(name, version, body)


def digest_of(content: bytes) -> bytes:
    """Return what stands for ``content`` among ``digests``."""
    return blake2b(content, digest_size=_DIGEST_BYTES).digest()
