"""A real Envoy that is asked what policies do to connections, each case behind its own listener."""

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from xds.type.matcher.v3 import matcher_pb2

from controlplane.encode.bootstrap import LAYERED_RUNTIME
from controlplane.encode.connection_gate import encode_gate
from controlplane.encode.dispatch import to_gated_chain
from controlplane.encode.rbac import encode_network_policies
from controlplane.encode.typed import packed
from controlplane.encode.waypoint_names import PEER_PRINCIPAL, SOURCE_ADDRESS
from controlplane.insight.http_decision import HttpRequest
from controlplane.lab.envoy import Envoy
from controlplane.model.http_policy import HttpPolicy
from controlplane.model.network import text_from_address
from tests.support.policy_bed import EXTENSIONS, a_state, listener_filter


@dataclass(frozen=True, kw_only=True)
class Place:
    """A listener: its policies, and who all of its clients are.

    They are enforced by filters, or, where ``is_gated``, by the choice of the chain.
    """

    policies: Sequence[HttpPolicy]
    identity: str
    is_gated: bool = False


async def let_through(
    places: Sequence[Place], asked: Sequence[tuple[int, HttpRequest]], directory: Path
) -> list[bool]:
    """Whether each connection to a place, by its number, is answered."""
    async with Envoy(connection_bootstrap(places), directory) as envoy:
        listing = json.loads(await envoy.admin("/listeners?format=json"))
        sockets = {
            each["name"]: each["local_address"]["socket_address"]
            for each in listing["listener_statuses"]
        }
        answered = []
        for place, request in asked:
            socket = sockets[str(place)]
            answered.append(await _is_answered((socket["address"], socket["port_value"]), request))
        return answered


def connection_bootstrap(places: Sequence[Place]) -> dict[str, Any]:
    """Return a listener for each of the places, named by its number."""
    listeners = [_listener(number, place) for number, place in enumerate(places)]
    return {
        "layered_runtime": LAYERED_RUNTIME,
        "static_resources": {"listeners": listeners},
    }


async def _is_answered(address: tuple[str, int], request: HttpRequest) -> bool:
    reader, writer = await asyncio.open_connection(*address)
    family = "TCP4" if len(request.destination) == 4 else "TCP6"
    source = text_from_address(request.caller.source)
    ends = f"{source} {text_from_address(request.destination)} 4000 {request.port}"
    hello = _hello(request.server_name)
    writer.write(f"PROXY {family} {ends}\r\n".encode() + hello)
    try:
        return await reader.readexactly(len(hello)) == hello
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    finally:
        writer.close()


def _hello(server_name: str) -> bytes:
    """What a client says first: TLS with the name, or something else without one."""
    if not server_name:
        return b"hello"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without an answer")


def _listener(number: int, place: Place) -> dict[str, Any]:
    states = [
        a_state(PEER_PRINCIPAL, place.identity, "envoy.hashable_string"),
        # That of the PROXY header; a waypoint has none and takes the address of the connection.
        a_state(SOURCE_ADDRESS, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "envoy.network.ip"),
    ]
    if place.is_gated:
        return _gated(number, place, states)
    state = {
        "@type": f"{EXTENSIONS}filters.network.set_filter_state.v3.Config",
        "on_new_connection": states,
    }
    policies = [
        {
            "name": name,
            "typed_config": json_format.MessageToDict(
                packed(body), preserving_proto_field_name=True
            ),
        }
        for name, body in encode_network_policies(place.policies)
    ]
    filters = [{"name": "state", "typed_config": state}, *policies, _ECHO]
    return {
        "name": str(number),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": _INSPECTORS,
        "filter_chains": [{"filters": filters}],
    }


def _gated(number: int, place: Place, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a listener whose only filter answers, for those who are led to it."""
    known = {"@type": f"{EXTENSIONS}filters.listener.set_filter_state.v3.Config"}
    matcher = matcher_pb2.Matcher(on_no_match=to_gated_chain("echo", encode_gate(place.policies)))
    return {
        "name": str(number),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [
            *_INSPECTORS,
            {
                "name": "envoy.filters.listener.set_filter_state",
                "typed_config": known | {"on_accept": states},
            },
        ],
        "filter_chain_matcher": json_format.MessageToDict(
            matcher, preserving_proto_field_name=True
        ),
        "filter_chains": [{"name": "echo", "filters": [_ECHO]}],
    }


_ECHO = {
    "name": "echo",
    "typed_config": {"@type": f"{EXTENSIONS}filters.network.echo.v3.Echo"},
}
_INSPECTORS = [
    listener_filter("proxy_protocol", "ProxyProtocol"),
    listener_filter("tls_inspector", "TlsInspector"),
]
