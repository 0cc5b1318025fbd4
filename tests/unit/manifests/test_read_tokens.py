"""What a RequestAuthentication says, and what refuses it."""

import pytest

from controlplane.manifests.istio import (
    ClaimHeader,
    RequestAuthentication,
    TargetReference,
    TokenHeader,
    TokenIssuer,
)
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = (
    "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a}\n"
    "spec: {targetRefs: [{group: '', kind: Service, name: s}], jwtRules: [%s]}\n"
)


def _issuer(text: str) -> TokenIssuer:
    found = manifest_of(HEAD % f"{{{text}}}")
    assert isinstance(found, RequestAuthentication)
    assert found.target_references == (TargetReference("Service", "s"),)
    (issuer,) = found.issuers
    return issuer


def _refused(text: str) -> str | None:
    return problem_of(HEAD % f"{{{text}}}").field


@pytest.mark.proves("RA-1")
def test_every_field_is_read() -> None:
    issuer = _issuer(
        "issuer: i, audiences: [a, b], jwksUri: 'https://i.example:8443/keys?x=1',"
        " fromHeaders: [{name: x-token, prefix: 'Token '}, {name: y}], fromParams: [t],"
        " fromCookies: [c], forwardOriginalToken: true, outputPayloadToHeader: x-payload,"
        " outputClaimToHeaders: [{header: x-sub, claim: sub}], spaceDelimitedClaims: [teams],"
        " timeout: 1m1.5s"
    )
    assert issuer == TokenIssuer(
        issuer="i",
        audiences=("a", "b"),
        keys_uri="https://i.example:8443/keys?x=1",
        headers=(TokenHeader("x-token", "Token "), TokenHeader("y")),
        parameters=("t",),
        cookies=("c",),
        forwards=True,
        payload_header="x-payload",
        claim_headers=(ClaimHeader("x-sub", "sub"),),
        lists=("teams",),
        timeout=61.5,
    )
    assert _issuer("issuer: i, jwks: '{}'") == TokenIssuer(issuer="i", keys="{}")


@pytest.mark.refutes("RA-1")
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "issuer"),
        ("issuer: ''", "issuer"),
        ('issuer: "a\\nb"', "issuer"),
        ("issuer: i, audience: [a]", "audience"),
        ("issuer: i, audiences: a", "audiences"),
        ("issuer: i, audiences: [a, '']", "audiences[1]"),
        ("issuer: i, audiences: null", "audiences"),
        ("issuer: i, fromHeaders: [{}]", "fromHeaders[0].name"),
        ("issuer: i, fromHeaders: [null]", "fromHeaders[0].name"),
        ("issuer: i, fromHeaders: [{name: 'a b'}]", "fromHeaders[0].name"),
        ("issuer: i, fromHeaders: [{name: ':authority'}]", "fromHeaders[0].name"),
        ('issuer: i, fromHeaders: [{name: a, prefix: "b\\r\\n"}]', "fromHeaders[0].prefix"),
        ("issuer: i, fromHeaders: [{name: a, names: b}]", "fromHeaders[0].names"),
        ("issuer: i, fromParams: ['']", "fromParams[0]"),
        ("issuer: i, fromCookies: ['a b']", "fromCookies[0]"),
        ("issuer: i, outputClaimToHeaders: [{header: a}]", "outputClaimToHeaders[0].claim"),
        ("issuer: i, outputClaimToHeaders: [{claim: a}]", "outputClaimToHeaders[0].header"),
        ("issuer: i, spaceDelimitedClaims: ['']", "spaceDelimitedClaims[0]"),
        ("issuer: i, timeout: 5", "timeout"),
        ("issuer: i, timeout: soon", "timeout"),
    ],
)
def test_what_could_mean_something_else_refuses_the_object(text: str, field: str) -> None:
    assert _refused(text) == f"spec.jwtRules[0].{field}"


@pytest.mark.proves("RA-2")
@pytest.mark.parametrize("uri", ["https://i", "http://i.example/k", "https://[::1]:1/k"])
def test_a_url_of_keys(uri: str) -> None:
    assert _issuer(f"issuer: i, jwksUri: '{uri}'").keys_uri == uri


@pytest.mark.refutes("RA-2")
@pytest.mark.parametrize(
    "uri",
    [
        "keys",
        "file:///etc/keys",
        "unix:///run/keys.sock",
        "https:///keys",
        "https://i:99999/",
        "https://me:word@i.example/keys",
        "https://i.example/a b",
        "https://[::1/keys",
        "https://i.example/" + "a" * 2048,
    ],
)
def test_no_url_of_keys(uri: str) -> None:
    assert _refused(f"issuer: i, jwksUri: '{uri}'") == "spec.jwtRules[0].jwksUri"


@pytest.mark.refutes("RA-2")
def test_keys_come_from_one_place() -> None:
    text = "issuer: i, jwks: '{}', jwksUri: 'https://i.example'"
    assert _refused(text) == "spec.jwtRules[0].jwksUri"


@pytest.mark.proves("RA-3")
@pytest.mark.parametrize("header", ["Host", "content-length", "Transfer-Encoding", "authorization"])
def test_some_headers_are_not_written(header: str) -> None:
    assert _refused(f"issuer: i, outputPayloadToHeader: {header}") == (
        "spec.jwtRules[0].outputPayloadToHeader"
    )
    text = "issuer: i, fromHeaders: [{name: A}], outputClaimToHeaders: [{header: a, claim: c}]"
    assert _refused(text) == "spec.jwtRules[0].outputClaimToHeaders[0].header"


@pytest.mark.refutes("RA-3")
def test_others_are() -> None:
    assert _issuer("issuer: i, outputPayloadToHeader: x").payload_header == "x"
    text = "issuer: i, fromParams: [a], outputPayloadToHeader: authorization"
    assert _issuer(text).payload_header == "authorization"
