"""The HTTP filters of a waypoint's chains: what a chain is made of comes in, its filters go out.

docs/protocol/waypoint-config.md WC-30, WC-51, WC-52.
"""

from collections.abc import Iterator
from typing import Any

from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from google.protobuf.message import Message

from controlplane.encode.asking_filter import encode_asked_mark, encode_asking
from controlplane.encode.client_naming import encode_client_naming
from controlplane.encode.http_route_filters import CORS, STATEFUL_SESSION
from controlplane.encode.token_filter import encode_claim_headers, encode_token_check
from controlplane.encode.typed import packed
from controlplane.encode.waypoint_names import (
    ASKED_MARK,
    ASKING,
    CLAIM_HEADERS,
    CLIENT_NAMING,
    RBAC_ALLOW,
    RBAC_AUDIT,
    RBAC_CUSTOM,
    RBAC_DENY,
    TOKEN_CHECK,
)
from controlplane.model.chain_content import ChainContent


def http_filters(content: ChainContent) -> Iterator[Any]:
    """Yield the filters of an HTTP chain, in the order in which a request meets them.

    Each step is a function of ``content`` that yields what it needs, which may be nothing.
    """
    # Whatever tells the application about the client comes first: a provider is told the same.
    # Before it goes whatever only a token may tell.
    yield from _optional(CLAIM_HEADERS, encode_claim_headers(content.token_rules))
    if content.names_client:
        yield http_filter(CLIENT_NAMING, encode_client_naming())
    if content.provider is not None:
        yield http_filter(ASKED_MARK, encode_asked_mark(content.provider.provider))
    yield http_filter(RBAC_CUSTOM, rbac_pb2.RBAC())
    if content.provider is not None:
        yield http_filter(ASKING, encode_asking(content.provider))
    # Tokens are read after providers were asked; everything after may look at claims.
    yield from _optional(TOKEN_CHECK, encode_token_check(content.token_rules))
    yield http_filter(RBAC_AUDIT, rbac_pb2.RBAC())
    yield http_filter(RBAC_DENY, rbac_pb2.RBAC())
    # Bodies of policies come with the routes: routes that lost theirs let nothing through.
    yield http_filter(RBAC_ALLOW, rbac_pb2.RBAC(rules={"action": "ALLOW"}))
    # A preflight request is answered after policies let it through, as any other is.
    yield http_filter(CORS, cors_pb2.Cors())
    # It does nothing by itself: routes say whose clients keep their endpoint.
    yield http_filter(STATEFUL_SESSION, stateful_session_pb2.StatefulSession())
    yield router_filter()


def _optional(name: str, message: Message | None) -> Iterator[Any]:
    if message is not None:
        yield http_filter(name, message)


def http_filter(name: str, message: Message) -> Any:
    """Return an HTTP filter."""
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=packed(message))


def router_filter() -> Any:
    """Return the HTTP filter that ends every list of them."""
    return http_filter("envoy.filters.http.router", router_pb2.Router())
