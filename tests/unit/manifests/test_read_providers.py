"""Providers of the mesh configuration: every field, and what is no provider."""

from typing import Any

import pytest

from controlplane.manifests.read_fields import RefusedFieldError
from controlplane.manifests.read_mesh_config import read_mesh_config
from controlplane.model.authorization_provider import (
    AskedBody,
    AuthorizationProvider,
    ProviderProtocol,
)

HTTP = "envoyExtAuthzHttp"
GRPC = "envoyExtAuthzGrpc"
LEAST = {"service": "auth.shop.svc.cluster.local", "port": 8000}


def _read(kind: str = HTTP, name: Any = "auth", **fields: Any) -> Any:
    entry = {"name": name, kind: LEAST | fields}
    (written,) = read_mesh_config({"extensionProviders": [entry]}).authorization_providers
    return written


@pytest.mark.proves("EA-1", "EA-2", "EA-3")
def test_every_field_of_a_provider_that_speaks_http() -> None:
    written = _read(
        service="shop/Auth.example.com",
        port="8000",
        timeout="0.25s",
        failOpen=True,
        clearRouteCache=True,
        statusOnError="503",
        pathPrefix="/check",
        includeRequestBodyInCheck={
            "maxRequestBytes": 10,
            "allowPartialMessage": True,
            "packAsBytes": True,
        },
        includeRequestHeadersInCheck=["X-A", "x-*", "*-id"],
        includeAdditionalHeadersInCheck={"X-From": "mesh"},
        headersToUpstreamOnAllow=["x-user"],
        headersToDownstreamOnDeny=["set-cookie"],
        headersToDownstreamOnAllow=["x-seen", "*"],
    )
    assert written.provider == AuthorizationProvider(
        name="auth",
        protocol=ProviderProtocol.HTTP,
        namespace="shop",
        hostname="auth.example.com",
        port=8000,
        seconds=0.25,
        fails_open=True,
        error_status=503,
        clears_routes=True,
        path_prefix="/check",
        asked_headers=("x-a", "x-*", "*-id"),
        extra_headers=(("x-from", "mesh"),),
        allowed_upstream=("x-user",),
        allowed_downstream=("x-seen", "*"),
        denied_downstream=("set-cookie",),
        body=AskedBody(10, is_partial_enough=True, is_binary=True),
    )


@pytest.mark.proves("EA-2")
def test_what_is_not_written_fails_closed() -> None:
    provider = _read(GRPC).provider
    assert provider.protocol is ProviderProtocol.GRPC
    assert (provider.seconds, provider.fails_open, provider.error_status) == (600.0, False, 403)
    assert provider.namespace == ""
    assert _read(includeHeadersInCheck=["x-a"]).provider.asked_headers == ("x-a",)


@pytest.mark.refutes("EA-1", "EA-2", "EA-3")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"service": ""}, "service"),
        ({"service": "a b"}, "service"),
        ({"port": 0}, "port"),
        ({"port": "65536"}, "port"),
        ({"port": "x"}, "port"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
        ({"statusOnError": "200"}, "statusOnError"),
        ({"statusOnError": 999}, "statusOnError"),
        ({"pathPrefix": "check"}, "pathPrefix"),
        ({"pathPrefix": "/a?b"}, "pathPrefix"),
        ({"failOpen": "yes"}, "failOpen"),
        ({"includeRequestHeadersInCheck": ["a b"]}, "includeRequestHeadersInCheck[0]"),
        ({"headersToUpstreamOnAllow": ["*a*"]}, "headersToUpstreamOnAllow[0]"),
        ({"includeAdditionalHeadersInCheck": {"a": "\n"}}, "includeAdditionalHeadersInCheck.a"),
        (
            {"includeRequestBodyInCheck": {"maxRequestBytes": 0}},
            "includeRequestBodyInCheck.maxRequestBytes",
        ),
    ],
)
def test_one_that_cannot_be_used_is_told_with_its_fault(fields: Any, field: str) -> None:
    written = _read(**fields)
    assert written.provider is None
    assert written.fault
    assert written.field == f"extensionProviders[0].{HTTP}.{field}"


@pytest.mark.refutes("EA-1")
def test_other_entries_are_left_alone_and_names_are_taken_once() -> None:
    entries = [
        {"name": "traces", "zipkin": {"service": "z", "port": 1}},
        None,
        {"name": "auth", GRPC: LEAST},
        {"name": "auth", HTTP: LEAST},
        {"name": 7, HTTP: LEAST},
        {HTTP: LEAST},
    ]
    read = read_mesh_config({"extensionProviders": entries}).authorization_providers
    assert [bool(each.provider) for each in read] == [True, False, False, False]
    assert [each.field for each in read[1:]] == [
        f"extensionProviders[{index}].name" for index in (3, 4, 5)
    ]


def test_aliases_of_the_trust_domain() -> None:
    config = read_mesh_config({"trustDomain": "td", "trustDomainAliases": ["a", "td", "b", "a"]})
    assert config.trust_domain_aliases == ("a", "b")
    with pytest.raises(RefusedFieldError) as refused:
        read_mesh_config({"trustDomainAliases": ["a/b"]})
    assert refused.value.path == ("trustDomainAliases", 0)
