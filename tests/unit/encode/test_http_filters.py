"""The filters of HTTP chains: which there are, in which order, and what they are told."""

from typing import Any

import pytest
from google.protobuf import json_format

from controlplane.encode.asking_filter import encode_asking
from controlplane.encode.http_filters import http_filters
from controlplane.model.authorization_provider import (
    AskedBody,
    AuthorizationProvider,
    ProviderProtocol,
    ReachableProvider,
)
from controlplane.model.chain_content import ChainContent

JUDGE = AuthorizationProvider(
    name="judge", protocol=ProviderProtocol.HTTP, hostname="auth.example.com", port=80
)
POLICIES = ["rbac-custom", "rbac-audit", "rbac-deny", "rbac-allow"]


def _names(**content: Any) -> list[str]:
    return [each.name for each in http_filters(ChainContent(**content))]


@pytest.mark.proves("WC-51")
def test_filters_are_in_the_order_in_which_requests_meet_them() -> None:
    names = _names(provider=ReachableProvider(provider=JUDGE), names_client=True)
    assert names[:5] == [
        "client-naming",
        "asked-provider",
        "rbac-custom",
        "envoy.filters.http.ext_authz",
        "rbac-audit",
    ]
    assert names.index("envoy.filters.http.cors") > names.index("rbac-allow")
    assert names[-1] == "envoy.filters.http.router"


@pytest.mark.refutes("WC-51")
def test_what_has_nothing_to_do_is_not_there() -> None:
    assert [name for name in _names() if not name.startswith("envoy.filters")] == POLICIES


def _asking(**fields: Any) -> dict[str, Any]:
    values = {name: getattr(JUDGE, name) for name in JUDGE.__slots__} | fields
    provider = ReachableProvider(provider=AuthorizationProvider(**values))
    found: dict[str, Any] = json_format.MessageToDict(
        encode_asking(provider), preserving_proto_field_name=True
    )
    return found


@pytest.mark.proves("EA-2", "EA-3", "EA-7")
def test_everything_that_is_configured_is_told() -> None:
    asking = _asking(
        seconds=0.25,
        body=AskedBody(10, is_partial_enough=True),
        asked_headers=("x-a", "x-*", "*-id", "*"),
        error_status=503,
        clears_routes=True,
    )
    assert asking["http_service"]["server_uri"]["timeout"] == "0.250s"
    assert asking["with_request_body"] == {"max_request_bytes": 10, "allow_partial_message": True}
    assert asking["allowed_headers"]["patterns"] == [
        {"exact": "x-a", "ignore_case": True},
        {"prefix": "x-", "ignore_case": True},
        {"suffix": "-id", "ignore_case": True},
        {"safe_regex": {"regex": ".*"}},
    ]
    assert asking["status_on_error"] == {"code": "ServiceUnavailable"}
    assert asking["clear_route_cache"] is True
    assert "failure_mode_allow" not in asking


@pytest.mark.refutes("EA-2", "EA-3", "EA-7")
def test_what_is_not_configured_is_not_told() -> None:
    asking = _asking()
    assert asking["status_on_error"] == {"code": "Forbidden"}
    assert asking["http_service"]["server_uri"]["timeout"] == "600s"
    assert {"allowed_headers", "with_request_body", "failure_mode_allow"}.isdisjoint(asking)
    assert list(asking["http_service"]) == ["server_uri"]
    assert _asking(fails_open=True)["failure_mode_allow"] is True
