"""Filter state: what is known of a client where HBONE ends, carried to where policies are asked.

Used by ``listener`` and ``filter_chain``. docs/protocol/waypoint-config.md WC-16, WC-17.
"""

from typing import Any, Final

from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2

from controlplane.encode.waypoint_names import (
    AUTHORITY,
    LOCAL_ADDRESS,
    OWN_PRINCIPAL,
    PEER_PRINCIPAL,
    REMOTE_ADDRESS,
    SOURCE_ADDRESS,
)

_HASHABLE: Final = "envoy.hashable_string"
_ADDRESS: Final = "envoy.network.ip"
_CARRIED: Final = (
    (LOCAL_ADDRESS, "%REQ(:AUTHORITY)%", ""),
    (REMOTE_ADDRESS, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", ""),
    (AUTHORITY, "%REQ(:AUTHORITY)%", _HASHABLE),
    (PEER_PRINCIPAL, "%DOWNSTREAM_PEER_URI_SAN%", _HASHABLE),
    (OWN_PRINCIPAL, "%DOWNSTREAM_LOCAL_URI_SAN%", _HASHABLE),
    (SOURCE_ADDRESS, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", _ADDRESS),
)
"""What goes along: its key, where it comes from, and the factory of an object with a hash.

Addresses are those of the HBONE connection itself: the one that Envoy derives for a stream is what
X-Forwarded-For of the CONNECT says, which the client writes.
"""


def filter_state(key: str, value: str, factory: str = "") -> Any:
    """Return a filter state object of one connection, for the next one it leads to.

    ``factory`` makes the object; "" is that of ``key`` itself.
    """
    return value_pb2.FilterStateValue(
        object_key=key,
        factory_key=factory,
        format_string={"text_format_source": {"inline_string": value}},
        shared_with_upstream=value_pb2.FilterStateValue.ONCE,
    )


def client_state() -> list[Any]:
    """Return everything a request takes along from the HBONE connection.

    Internal connections are pooled, and only objects with a hash keep clients apart there: a
    connection opened for one client must never carry another's request.
    """
    return [filter_state(key, value, factory) for key, value, factory in _CARRIED]
