"""Checks of tokens: the rules of a service come in, the HTTP filters that enforce them go out.

A request without a token passes, one whose token is not good is answered 401, or 403 when it is
for another audience. What a good one claims is metadata of the request.
docs/protocol/request-authentication.md RA-12 to RA-18.
"""

from collections.abc import Sequence
from typing import Any, Final

from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2

from controlplane.encode.waypoint_names import TOKEN_PAYLOAD
from controlplane.model.token_rule import TokenRule

_ALWAYS_LISTS: Final = frozenset({"permission", "scope"})
_AUTHORIZATION: Final = "authorization"
_REQUIREMENT: Final = config_pb2.JwtRequirement


def encode_claim_headers(rules: Sequence[TokenRule]) -> Any | None:
    """Return what takes away headers that only tokens may give; None when there are none.

    The check does so too, but only where it stands: a provider that is asked before it would be
    told what a client made up.
    """
    given = {name for rule in rules for name in _given(rule)}
    read = {name for rule in rules for name in _read(rule)}
    if not given - read:
        return None
    return header_mutation_pb2.HeaderMutation(
        mutations={"request_mutations": [{"remove": name} for name in sorted(given - read)]}
    )


def encode_token_check(rules: Sequence[TokenRule]) -> Any | None:
    """Return what checks tokens; None without rules."""
    if not rules:
        return None
    names = [f"origins-{number}" for number in range(len(rules))]
    return config_pb2.JwtAuthentication(
        providers={name: _provider(rule) for name, rule in zip(names, rules, strict=True)},
        rules=[{"match": {"prefix": "/"}, "requires": _requirement(names)}],
        bypass_cors_preflight=True,
    )


def _requirement(names: Sequence[str]) -> Any:
    """Return that a token of any of them is good, or that each of them has none."""
    missing = _REQUIREMENT(allow_missing={})
    each = [_REQUIREMENT(provider_name=name) for name in names]
    if len(each) == 1:
        return _any(*each, missing)
    none = {"requirements": [_any(one, missing) for one in each]}
    return _any(*each, _REQUIREMENT(requires_all=none))


def _any(*requirements: Any) -> Any:
    return _REQUIREMENT(requires_any={"requirements": requirements})


def _provider(rule: TokenRule) -> Any:
    return config_pb2.JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        local_jwks={"inline_string": rule.keys},
        forward=rule.forwards,
        from_headers=[{"name": each.name, "value_prefix": each.prefix} for each in rule.headers],
        from_params=rule.parameters,
        from_cookies=rule.cookies,
        forward_payload_header=rule.payload_header,
        claim_to_headers=[
            {"header_name": each.header, "claim_name": each.claim} for each in rule.claim_headers
        ],
        payload_in_metadata=TOKEN_PAYLOAD,
        normalize_payload_in_metadata={
            "space_delimited_claims": sorted(_ALWAYS_LISTS.union(rule.lists))
        },
        clear_route_cache=True,
    )


def _given(rule: TokenRule) -> list[str]:
    headers = [each.header.lower() for each in rule.claim_headers]
    return [*headers, rule.payload_header.lower()] if rule.payload_header else headers


def _read(rule: TokenRule) -> list[str]:
    if rule.headers or rule.parameters or rule.cookies:
        return [each.name.lower() for each in rule.headers]
    return [_AUTHORIZATION]
