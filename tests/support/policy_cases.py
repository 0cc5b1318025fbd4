"""Policies and requests that have much to do with each other, drawn at random from few values."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Any

from controlplane.insight.http_decision import Caller, HttpRequest
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
    When,
)
from controlplane.mesh.authorization import DRY_RUN
from tests.support.builders import an_authorization_policy
from tests.support.policy_bed import METADATA, PROVIDER

TEXTS = {
    "source.principal": ("*", "td/ns/shop/sa/web", "td/ns/shop/*", "*/sa/web", "*sa/web.x", "td*"),
    "source.namespace": ("*", "shop", "sh*", "*op", "s*p", "shop.x"),
    "source.serviceAccount": ("shop/web", "web", "shop/db", "other/web", "default/web"),
    "source.trustDomain": ("*", "td", "t*", "*d", "t*d", "other.example"),
    "source.ip": ("10.1.0.0/16", "10.1.2.3", "192.168.0.0/24", "fd00::/8", "0.0.0.0/0"),
    "remote.ip": ("10.1.0.0/16", "203.0.113.9", "203.0.113.0/24", "fd00::1"),
    "request.auth.principal": ("*", "https://i/alice", "https://i/*", "*/alice", "https://*"),
    "request.auth.audiences": ("*", "app", "ap*", "*pp", "admin"),
    "request.auth.presenter": ("*", "app", "ap*", "*pp", "admin"),
    "request.auth.claims[group]": ("*", "admin", "ad*", "*min", "user"),
    "request.auth.claims[a][b]": ("*", "deep", "de*", "*ep", "admin"),
    "request.headers[x-color]": ("*", "red", "re*", "*ed", "blue"),
    "request.headers[Host]": ("*", "shop.example", "shop*", "*.example"),
    "host": ("*", "shop.example", "shop.example:*", "SHOP*", "*.Example", "other.example"),
    "method": ("*", "GET", "PO*", "*ST", "get"),
    "path": ("*", "/a", "/a*", "*/b", "/a/{*}/b", "/a/{**}", "/{*}/b", "/a.b"),
    "destination.port": ("80", "8080", "443"),
    "destination.ip": ("10.96.0.10", "10.96.0.0/16", "fd00::/64", "0.0.0.0/0"),
    "connection.sni": ("*", "a.example", "a.*", "*.example", "b.example"),
    f"experimental.{METADATA}[key]": ("*", "red", "re*", "*ed", "[red]"),
}
"""Values of each attribute, by the key of its condition or the name of its field."""

_FIELDS = {
    "source.principal": (Source, "principals"),
    "source.namespace": (Source, "namespaces"),
    "source.serviceAccount": (Source, "service_accounts"),
    "source.trustDomain": (Source, "trust_domains"),
    "source.ip": (Source, "ip_blocks"),
    "remote.ip": (Source, "remote_ip_blocks"),
    "request.auth.principal": (Source, "request_principals"),
    "host": (Operation, "hosts"),
    "method": (Operation, "methods"),
    "path": (Operation, "paths"),
    "destination.port": (Operation, "ports"),
}
_BEFORE_TOKENS = [key for key in TEXTS if not key.startswith("request.auth.")]
_ONLY_FIELDS = ("host", "method", "path")

_IDENTITIES = (
    "spiffe://td/ns/shop/sa/web",
    "spiffe://td/ns/shop/sa/db",
    "spiffe://td/ns/default/sa/web",
    "spiffe://other.example/ns/shop/sa/web",
    "spiffe://td/ns/shop/sa/web2",
    "spiffe://td/ns/shopXx/sa/websaX",
    "spiffe://td/x/ns/shop/sa/web",
    "",
)
_CLAIMS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"iss": "https://i", "sub": "alice", "aud": "app", "azp": "app", "group": "admin"},
    {"iss": "https://i", "sub": "bob", "aud": ["web", "app"], "group": ["user", "admin"]},
    {"iss": "https://j", "sub": "alice", "azp": "admin", "a": {"b": "deep"}, "group": 7},
    {"iss": "i", "aud": [], "azp": "apps", "a": {"b": ["x", "deep"]}, "group": ""},
    {"sub": "alice", "aud": "admin", "a": "deep", "group": ["users"]},
    {"iss": "https://i/x", "sub": "y", "a": {"b": {"c": "deep"}}},
)
_SOURCES = ("10.1.2.3", "10.1.9.9", "192.168.0.7", "172.16.0.1", "fd00::1", "2001:db8::1")
_DESTINATIONS = ("10.96.0.10", "10.97.0.10")
_AUTHORITIES = (
    *("shop.example", "Shop.Example:80", "other.EXAMPLE", "shop", "Shop.Example."),
    *("u@other.example", "shop.example.:8", "xother.example", "shop.examples"),
)
_PATHS = ("/", "/a", "/a/b", "/a/x/b", "/a/x/y/b", "/x/b", "/aXb", "/a?q=/b", "/a/", "/a/x%20y/b")


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What a connection has."""

    destination: bytes
    port: int
    server_name: str


def some_ends(random: Random, count: int) -> list[Ends]:
    """Draw connections; some are IPv6."""
    found = []
    for number in range(count):
        is_long = number % 4 == 3
        destination = random.choice(("fd00::10", "fd01::10") if is_long else _DESTINATIONS)
        found.append(
            Ends(
                destination=ip_address(destination).packed,
                port=random.choice((80, 8080, 443)),
                server_name=random.choice(("", "a.example", "b.example")),
            )
        )
    return found


def a_request(random: Random, ends: Ends) -> HttpRequest:
    """Draw a request on a connection."""
    remote = random.choice(("10.1.2.3", "203.0.113.9", "203.0.114.1", "fd00::1"))
    color = random.choice((None, "red", "reddish", "dark-red", "blue"))
    value = random.choice((None, "red", "reddish", "dark-red", ["blue", "red"], ["x"], 7))
    return HttpRequest(
        caller=Caller(
            identity=random.choice(_IDENTITIES),
            source=ip_address(random.choice(_SOURCES)).packed,
            remote=ip_address(remote).packed,
            claims=random.choice(_CLAIMS),
        ),
        destination=ends.destination,
        port=ends.port,
        server_name=ends.server_name,
        method=random.choice(("GET", "POST", "PUT")),
        authority=random.choice(_AUTHORITIES),
        path=random.choice(_PATHS),
        headers={} if color is None else {"x-color": color},
        metadata={} if value is None else {METADATA: {"key": value}},
    )


def every_criterion(random: Random) -> Iterator[list[AuthorizationPolicy]]:
    """Yield policies of one criterion each: every value of every attribute, and negated."""
    for key, values in TEXTS.items():
        for number, value in enumerate(values):
            for negated in (False, True):
                rule = _rule(random, [(key, (value,), negated)])
                action = "ALLOW" if (number + negated) % 2 else "DENY"
                yield [an_authorization_policy("one", action=action, rules=[rule])]


def some_policies(random: Random) -> list[AuthorizationPolicy]:
    """Draw one to three policies of any kind."""
    found = []
    for number in range(random.randint(1, 3)):
        action = random.choice(("ALLOW", "ALLOW", "DENY", "AUDIT", "CUSTOM"))
        keys = _BEFORE_TOKENS if action == "CUSTOM" else list(TEXTS)
        rules = [
            _rule(random, [_criterion(random, keys) for _ in range(random.choice((0, 1, 1, 2, 3)))])
            for _ in range(random.choice((0, 1, 1, 2, 3)))
        ]
        is_dry_run = action != "CUSTOM" and random.random() < 0.15
        provider = random.choice((PROVIDER, PROVIDER, "nobody")) if action == "CUSTOM" else ""
        annotations = {DRY_RUN: "true"} if is_dry_run else None
        found.append(
            an_authorization_policy(
                f"p{number}", action=action, rules=rules, provider=provider, annotations=annotations
            )
        )
    return found


def _criterion(random: Random, keys: list[str]) -> tuple[str, tuple[str, ...], bool]:
    key = random.choice(keys)
    values = random.sample(TEXTS[key], random.choice((1, 2, 2)))
    return key, tuple(values), random.random() < 0.4


def _rule(random: Random, criteria: list[tuple[str, tuple[str, ...], bool]]) -> AuthorizationRule:
    """Write the criteria: as fields of sources and operations, of one or of several."""
    sources: list[Source] = []
    operations: list[Operation] = []
    conditions: list[When] = []
    for key, values, negated in criteria:
        if key in _FIELDS and (key in _ONLY_FIELDS or random.random() < 0.5):
            kind, name = _FIELDS[key]
            element = kind(**{f"not_{name}" if negated else name: values})
            (sources if kind is Source else operations).append(element)
        else:
            fields = {"not_values" if negated else "values": values}
            conditions.append(When(key=key, **fields))
    return AuthorizationRule(
        sources=tuple(sources), operations=tuple(operations), when=tuple(conditions)
    )


def odd_policies(random: Random) -> list[AuthorizationPolicy]:
    """Draw policies with values that nobody meant, most of which cannot be used."""
    keys = [key.replace("x-color", _odd_text(random)) for key in TEXTS]
    criteria = []
    for _ in range(3):
        number = random.randrange(len(keys))
        usual = random.choice(list(TEXTS.values())[number])
        odd = random.choice((usual + _odd_text(random), _odd_text(random), f"/{{*}}{usual}"))
        key = keys[number] if keys[number] not in _ONLY_FIELDS else list(TEXTS)[number]
        criteria.append((key, (odd, usual), random.random() < 0.5))
    return [
        an_authorization_policy(
            "".join(random.choices("ab-.", k=5)),
            action=random.choice(("ALLOW", "DENY", "AUDIT", "CUSTOM")),
            rules=[_rule(random, [criterion]) for criterion in criteria],
            provider=random.choice((PROVIDER, "", _odd_text(random))),
        )
    ]


def _odd_text(random: Random) -> str:
    alphabet = "ab01*{}[]()^$.|?+\\/:%-_ ~\"',;=&#@!<>\t\n\0\x7f\u00e9\u4e2d\U0001f600"
    return "".join(random.choices(alphabet, k=random.randrange(6))) * random.choice((1, 1, 1, 200))
