"""A real Envoy that is asked what policies do to requests; every case is a route of its own.

Connections say in a PROXY header where they come from and go to, requests say in headers who
asks: what the waypoint knows of an HBONE connection is put where it puts it.
"""

import asyncio
import json
import ssl
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format, struct_pb2

from controlplane.encode.bootstrap import LAYERED_RUNTIME
from controlplane.encode.rbac import encode_http_policies
from controlplane.encode.typed import packed
from controlplane.encode.waypoint_names import (
    ASKED,
    PEER_PRINCIPAL,
    RBAC_ALLOW,
    RBAC_AUDIT,
    RBAC_CUSTOM,
    RBAC_DENY,
    SOURCE_ADDRESS,
)
from controlplane.insight.http_decision import HttpRequest
from controlplane.lab.envoy import Envoy
from controlplane.model.http_policy import HttpPolicy
from controlplane.model.network import text_from_address
from tests.support.self_signed import self_signed

PROVIDER = "judge"
METADATA = "envoy.filters.test"
EXTENSIONS = "type.googleapis.com/envoy.extensions."
_SHADOW = "envoy.filters.http.rbac:"
_TOLD = {
    "number": "%REQ(x-number)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "audited": "%DYNAMIC_METADATA(envoy.common:access_log_hint)%",
    "asked": f"%DYNAMIC_METADATA({_SHADOW}istio_ext_authz_shadow_effective_policy_id)%",
    "tried-allow": f"%DYNAMIC_METADATA({_SHADOW}istio_dry_run_allow_shadow_engine_result)%",
    "tried-deny": f"%DYNAMIC_METADATA({_SHADOW}istio_dry_run_deny_shadow_engine_result)%",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What Envoy did: the status, and what it told about it."""

    status: int
    told: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request about one case, by its number."""

    case: int
    request: HttpRequest


class PolicyBed:
    """The answers of one Envoy about many cases."""

    def __init__(self, cases: Sequence[Sequence[HttpPolicy]], directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._directory = directory
        self._log = directory / "told.json"
        self.bootstrap = self._configuration(cases)

    async def ask(self, asked: Sequence[Asked]) -> list[Answer]:
        """Ask Envoy about all of them, over as few connections as there are ends."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, each in enumerate(asked):
            request = each.request
            ends = (request.destination, request.port, request.server_name)
            groups.setdefault(ends, []).append(number)
        statuses: dict[int, int] = {}
        async with Envoy(self.bootstrap, self._directory) as envoy:
            address = await envoy.address("policies")
            for members in groups.values():
                await self._converse(
                    address, {number: asked[number] for number in members}, statuses
                )
        # It is complete when Envoy has ended.
        lines = map(json.loads, self._log.read_text().splitlines())
        told = {int(line["number"]): line for line in lines}
        return [Answer(status=statuses[number], told=told[number]) for number in range(len(asked))]

    async def _converse(
        self, address: tuple[str, int], asked: Mapping[int, Asked], statuses: dict[int, int]
    ) -> None:
        first = next(iter(asked.values())).request
        reader, writer = await asyncio.open_connection(*address)
        family, source = ("TCP4", "1.1.1.1") if len(first.destination) == 4 else ("TCP6", "1::1")
        ends = f"{source} {text_from_address(first.destination)} 4000 {first.port}"
        writer.write(f"PROXY {family} {ends}\r\n".encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await writer.start_tls(context, server_hostname=first.server_name or None)
        for number, each in asked.items():
            writer.write(self._request(number, each))
            statuses[number] = await _status(reader)
        writer.close()

    def _request(self, number: int, asked: Asked) -> bytes:
        request = asked.request
        headers = {
            "host": request.authority,
            "x-case": str(asked.case),
            "x-number": str(number),
            "x-source": text_from_address(request.caller.source),
            "x-forwarded-for": text_from_address(request.caller.remote),
            **request.headers,
        }
        if request.caller.identity:
            headers["x-identity"] = request.caller.identity
        if request.caller.claims is not None:
            token = jwt.encode(dict(request.caller.claims), self._key, algorithm="ES256")
            headers["authorization"] = f"Bearer {token}"
        if request.metadata:
            value = json_format.ParseDict(request.metadata[METADATA]["key"], struct_pb2.Value())
            headers["x-metadata"] = b64encode(value.SerializeToString()).decode()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([f"{request.method} {request.path} HTTP/1.1", *lines, "", ""]).encode()

    def _configuration(self, cases: Sequence[Sequence[HttpPolicy]]) -> dict[str, Any]:
        certificate, key = self_signed("bed")
        extension = f"{EXTENSIONS}filters."
        policy_filters = [
            {"name": name, "typed_config": {"@type": f"{extension}http.rbac.v3.RBAC", **body}}
            for name, body in (
                (RBAC_CUSTOM, {}),
                (RBAC_AUDIT, {}),
                (RBAC_DENY, {}),
                (RBAC_ALLOW, {"rules": {"action": "ALLOW"}}),
            )
        ]
        manager = {
            "@type": f"{extension}network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "policies",
            "normalize_path": True,
            "use_remote_address": False,
            "access_log": [
                {
                    "name": "file",
                    "typed_config": {
                        "@type": f"{EXTENSIONS}access_loggers.file.v3.FileAccessLog",
                        "path": str(self._log),
                        "log_format": {"json_format": _TOLD},
                    },
                }
            ],
            "http_filters": [
                {
                    "name": "state",
                    "typed_config": {
                        "@type": f"{extension}http.set_filter_state.v3.Config",
                        "on_request_headers": [
                            a_state(PEER_PRINCIPAL, "%REQ(x-identity)%", "envoy.hashable_string"),
                            a_state(SOURCE_ADDRESS, "%REQ(x-source)%", "envoy.network.ip"),
                            a_state(ASKED, PROVIDER, "envoy.string"),
                        ],
                    },
                },
                {
                    "name": "metadata",
                    "typed_config": {
                        "@type": f"{extension}http.header_to_metadata.v3.Config",
                        "request_rules": [
                            {
                                "header": "x-metadata",
                                "on_header_present": {
                                    "metadata_namespace": METADATA,
                                    "key": "key",
                                    "type": "PROTOBUF_VALUE",
                                    "encode": "BASE64",
                                },
                            }
                        ],
                    },
                },
                {"name": "envoy.filters.http.jwt_authn", "typed_config": self._tokens()},
                *policy_filters,
                {
                    "name": "router",
                    "typed_config": {"@type": f"{extension}http.router.v3.Router"},
                },
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [_route(number, each) for number, each in enumerate(cases)],
                    }
                ]
            },
        }
        return {
            "layered_runtime": LAYERED_RUNTIME,
            "static_resources": {
                "listeners": [
                    {
                        "name": "policies",
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                        "listener_filters": [
                            listener_filter("proxy_protocol", "ProxyProtocol"),
                            listener_filter("tls_inspector", "TlsInspector"),
                        ],
                        "filter_chains": [
                            {
                                "filters": [{"name": "http", "typed_config": manager}],
                                "transport_socket": {
                                    "name": "tls",
                                    "typed_config": {
                                        "@type": f"{EXTENSIONS}transport_sockets.tls.v3."
                                        "DownstreamTlsContext",
                                        "common_tls_context": {
                                            "tls_certificates": [
                                                {
                                                    "certificate_chain": {
                                                        "inline_string": certificate
                                                    },
                                                    "private_key": {"inline_string": key},
                                                }
                                            ]
                                        },
                                    },
                                },
                            }
                        ],
                    }
                ]
            },
        }

    def _tokens(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        x, y = (
            urlsafe_b64encode(value.to_bytes(32)).rstrip(b"=").decode()
            for value in (numbers.x, numbers.y)
        )
        key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y}
        provider = {
            "local_jwks": {"inline_string": json.dumps({"keys": [key]})},
            "payload_in_metadata": "payload",
            "forward": True,
        }
        one = {"provider_name": "one"}
        return {
            "@type": f"{EXTENSIONS}filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"one": provider},
            "rules": [
                {
                    "match": {"prefix": "/"},
                    "requires": {"requires_any": {"requirements": [one, {"allow_missing": {}}]}},
                }
            ],
        }


async def _status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1])


def _route(number: int, policies: Sequence[HttpPolicy]) -> dict[str, Any]:
    overrides = encode_http_policies(policies, asked=PROVIDER)
    return {
        "match": {
            "prefix": "/",
            "headers": [{"name": "x-case", "string_match": {"exact": str(number)}}],
        },
        "direct_response": {"status": 200},
        "typed_per_filter_config": {
            name: json_format.MessageToDict(packed(body), preserving_proto_field_name=True)
            for name, body in overrides.items()
        },
    }


def a_state(key: str, value: str, factory: str) -> dict[str, Any]:
    return {
        "object_key": key,
        "factory_key": factory,
        "format_string": {"text_format_source": {"inline_string": value}},
    }


def listener_filter(name: str, message: str) -> dict[str, Any]:
    kind = f"{EXTENSIONS}filters.listener.{name}.v3.{message}"
    return {"name": f"envoy.filters.listener.{name}", "typed_config": {"@type": kind}}


def policy_bootstrap(cases: Sequence[Sequence[HttpPolicy]], directory: Path) -> dict[str, Any]:
    """Return a configuration with a route for each of the cases, to look at."""
    return PolicyBed(cases, directory).bootstrap
