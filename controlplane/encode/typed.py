"""Messages inside messages: a typed configuration comes in, the ``Any`` that holds it goes out.

Everything is serialized with sorted maps: equal values are equal bytes, or every push would be an
update (docs/protocol/waypoint-config.md WC-13).
"""

from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2

from controlplane.encode.envelope import TYPE_PREFIX

ADS = config_source_pb2.ConfigSource(
    ads={}, resource_api_version="V3", initial_fetch_timeout=duration_pb2.Duration()
)
"""Where everything else comes from: the same stream, waited for without limit."""


def packed(message: Message) -> any_pb2.Any:
    """Return ``message`` in an Any."""
    return any_pb2.Any(type_url=TYPE_PREFIX + message.DESCRIPTOR.full_name, value=encoded(message))


def packed_bytes(descriptor: Descriptor, content: bytes) -> any_pb2.Any:
    """Return a message that is serialized already in an Any."""
    return any_pb2.Any(type_url=TYPE_PREFIX + descriptor.full_name, value=content)


def encoded(message: Message) -> bytes:
    """Return the bytes of ``message``, the same in every process."""
    return message.SerializeToString(deterministic=True)


def seconds(count: int) -> duration_pb2.Duration:
    """Return a duration."""
    return duration_pb2.Duration(seconds=count)


def transport_socket(name: str, message: Message) -> Any:
    """Return the transport socket ``envoy.transport_sockets.<name>``."""
    return base_pb2.TransportSocket(
        name=f"envoy.transport_sockets.{name}", typed_config=packed(message)
    )


def matching(name: str, message: Message) -> Any:
    """Return an extension of a matcher."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))
