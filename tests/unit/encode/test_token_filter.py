"""The filters that check tokens."""

from typing import Any

import pytest
from google.protobuf import json_format

from controlplane.encode.http_filters import http_filters
from controlplane.encode.token_filter import encode_claim_headers, encode_token_check
from controlplane.model.chain_content import ChainContent
from controlplane.model.token_rule import REFUSING_KEYS, ClaimHeader, TokenHeader, TokenRule

RULE = TokenRule(issuer="a", keys=REFUSING_KEYS)


def _check(*rules: TokenRule) -> dict[str, Any]:
    return json_format.MessageToDict(encode_token_check(rules), preserving_proto_field_name=True)


def _cleaned(*rules: TokenRule) -> list[str]:
    message = encode_claim_headers(rules)
    return [] if message is None else [each.remove for each in message.mutations.request_mutations]


@pytest.mark.proves("RA-10", "RA-12")
def test_one_issuer_and_nothing_else_said() -> None:
    found = _check(RULE)
    assert found == {
        "bypass_cors_preflight": True,
        "providers": {
            "origins-0": {
                "issuer": "a",
                "local_jwks": {"inline_string": REFUSING_KEYS},
                "payload_in_metadata": "payload",
                "normalize_payload_in_metadata": {
                    "space_delimited_claims": ["permission", "scope"]
                },
                "clear_route_cache": True,
            }
        },
        "rules": [
            {
                "match": {"prefix": "/"},
                "requires": {
                    "requires_any": {
                        "requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]
                    }
                },
            }
        ],
    }


@pytest.mark.proves("RA-14", "RA-16", "RA-17", "RA-18")
def test_everything_said() -> None:
    rule = TokenRule(
        issuer="b",
        keys=REFUSING_KEYS,
        audiences=("x", "y"),
        headers=(TokenHeader("h", "p "),),
        parameters=("q",),
        cookies=("c",),
        forwards=True,
        payload_header="x-payload",
        claim_headers=(ClaimHeader("X-Sub", "sub"),),
        lists=("teams",),
    )
    found = _check(RULE, rule)
    assert found["providers"]["origins-1"] == {
        "issuer": "b",
        "audiences": ["x", "y"],
        "local_jwks": {"inline_string": REFUSING_KEYS},
        "forward": True,
        "from_headers": [{"name": "h", "value_prefix": "p "}],
        "from_params": ["q"],
        "from_cookies": ["c"],
        "forward_payload_header": "x-payload",
        "claim_to_headers": [{"header_name": "X-Sub", "claim_name": "sub"}],
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {
            "space_delimited_claims": ["permission", "scope", "teams"]
        },
        "clear_route_cache": True,
    }
    one, two, missing = (
        {"provider_name": "origins-0"},
        {"provider_name": "origins-1"},
        {"allow_missing": {}},
    )
    none = [{"requires_any": {"requirements": [each, missing]}} for each in (one, two)]
    assert found["rules"][0]["requires"]["requires_any"]["requirements"] == [
        one,
        two,
        {"requires_all": {"requirements": none}},
    ]


@pytest.mark.proves("RA-17")
def test_what_only_tokens_tell_is_taken_away_first() -> None:
    rule = TokenRule(
        issuer="a",
        keys=REFUSING_KEYS,
        payload_header="X-Payload",
        claim_headers=(ClaimHeader("x-sub", "sub"), ClaimHeader("x-sub", "name")),
    )
    assert _cleaned(rule) == ["x-payload", "x-sub"]
    names = [each.name for each in http_filters(ChainContent(token_rules=(rule,)))]
    assert names[:2] == ["claim-headers", "rbac-custom"]
    assert names.index("envoy.filters.http.jwt_authn") < names.index("rbac-audit")


@pytest.mark.refutes("RA-17")
def test_a_header_that_tokens_are_read_from_stays() -> None:
    reader = TokenRule(issuer="b", keys=REFUSING_KEYS, headers=(TokenHeader("X-Sub"),))
    writer = TokenRule(issuer="a", keys=REFUSING_KEYS, claim_headers=(ClaimHeader("x-sub", "sub"),))
    assert _cleaned(reader, writer) == []
    assert _cleaned(writer) == ["x-sub"]
    assert _cleaned(RULE) == []


@pytest.mark.refutes("RA-12")
def test_without_rules_nothing_is_checked() -> None:
    assert encode_token_check(()) is None
    names = {each.name for each in http_filters(ChainContent())}
    assert not {"claim-headers", "envoy.filters.http.jwt_authn"} & names
