"""Whatever RequestAuthentications say, Envoy takes the filters that are made of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.authentication.errors import KeySetError
from controlplane.authentication.key_set import read_key_set
from controlplane.encode.http_filters import http_filters
from controlplane.encode.typed import packed
from controlplane.manifests.reading import read_documents
from controlplane.model.chain_content import ChainContent
from controlplane.model.token_rule import REFUSING_KEYS, TokenRule
from tests.support.builders import a_service, a_waypoint
from tests.support.envoy_validation import validate
from tests.support.tokens import key_set, public_key
from tests.support.waypoint_snapshots import Waypoints

_BATCH = 20
TARGET = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
# Mostly what could be meant, sometimes anything at all.
GOOD = st.sampled_from(["a", "b", "x-token", "X-User", "iss", "sub", "%", "i/j", "{}"])
WORDS = st.integers(0, 49).flatmap(lambda chance: GOOD if chance else st.text(max_size=8))
HEADERS = st.integers(0, 49).flatmap(
    lambda chance: st.sampled_from(["a", "x-b", "X-User", "%", "~"]) if chance else GOOD
)
MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "kid", "use", "k"])
VALUES = st.sampled_from(
    ["EC", "RSA", "OKP", "oct", "P-256", "ES256", "RS256", "AQAB", "", 3, None]
)
KEYS = st.builds(
    lambda key, changes, gone: {k: v for k, v in (key | changes).items() if k not in gone},
    st.sampled_from([public_key(), public_key("two")]),
    st.dictionaries(MEMBERS, VALUES, max_size=2),
    st.sets(MEMBERS, max_size=1),
)
KEY_SETS = st.one_of(
    st.sampled_from([key_set(), key_set("one", "two")]),
    st.lists(KEYS, max_size=3).map(lambda keys: json.dumps({"keys": keys})),
    st.text(max_size=8),
)
ISSUERS = st.fixed_dictionaries(
    {"issuer": st.one_of(st.sampled_from(["a", "b"]), WORDS)},
    optional={
        "audiences": st.lists(WORDS, max_size=2),
        "jwks": KEY_SETS,
        "fromHeaders": st.lists(
            st.fixed_dictionaries({"name": HEADERS, "prefix": WORDS}), max_size=2
        ),
        "fromParams": st.lists(WORDS, max_size=2),
        "fromCookies": st.lists(WORDS, max_size=2),
        "forwardOriginalToken": st.booleans(),
        "outputPayloadToHeader": HEADERS,
        "outputClaimToHeaders": st.lists(
            st.fixed_dictionaries({"header": HEADERS, "claim": WORDS}), max_size=2
        ),
        "spaceDelimitedClaims": st.lists(WORDS, max_size=2),
    },
)


def _rules(issuers: list[dict[str, Any]]) -> tuple[TokenRule, ...] | None:
    """The rules that come of an object with these issuers, None when it is refused."""
    text = json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"targetRefs": [TARGET], "jwtRules": issuers},
        }
    )
    manifests = [each.manifest for each in read_documents(text, "a.json").documents]
    if not manifests:
        return None
    waypoints = Waypoints()
    waypoints.apply(
        a_waypoint("waypoint", "shop"),
        a_service("web", "shop", labels={"istio.io/use-waypoint": "waypoint"}),
        *manifests,
    )
    ((_, rules),) = waypoints.pipeline.world.token_rules.by_service.items()
    return rules


def _listener(number: int, rules: tuple[TokenRule, ...]) -> dict[str, Any]:
    manager = http_connection_manager_pb2.HttpConnectionManager(
        stat_prefix="tokens",
        route_config={"name": "none"},
        http_filters=list(http_filters(ChainContent(token_rules=rules))),
    )
    body = json_format.MessageToDict(packed(manager), preserving_proto_field_name=True)
    return {
        "name": f"tokens-{number}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": body}]}],
    }


@pytest.mark.proves("RA-9")
@pytest.mark.timeout(180)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(policies=st.lists(st.lists(ISSUERS, max_size=3), min_size=_BATCH, max_size=_BATCH))
def test_what_is_read_is_accepted_by_envoy(
    policies: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    found = [rules for issuers in policies if (rules := _rules(issuers)) is not None]
    listeners = [_listener(number, rules) for number, rules in enumerate(found)]
    assert validate([{"listeners": listeners, "clusters": []}], tmp_path) is None


@pytest.mark.timeout(60)
def test_envoy_refuses_what_is_not_read(tmp_path: Path) -> None:
    for keys in ("{}", '{"keys": []}', '{"keys": [{"kty": "oct"}]}', "keys"):
        listener = _listener(0, (TokenRule(issuer="a", keys=keys),))
        assert "invalid local jwks" in str(
            validate([{"listeners": [listener], "clusters": []}], tmp_path)
        )
    for fine in (REFUSING_KEYS, read_key_set(key_set())):
        listener = _listener(0, (TokenRule(issuer="a", keys=fine),))
        assert validate([{"listeners": [listener], "clusters": []}], tmp_path) is None


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(MEMBERS | st.just("keys"), inner)
        ),
        max_leaves=12,
    )
)
def test_any_document_is_a_key_set_or_refused(document: Any) -> None:
    try:
        found = read_key_set(json.dumps(document))
    except KeySetError:
        return
    assert read_key_set(found) == found
