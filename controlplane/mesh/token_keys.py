"""The keys of token issuers: what a rule says and what was fetched in, a key set out.

There is always one: where keys cannot be had it is a set that refuses every token.
docs/protocol/request-authentication.md RA-5 to RA-10.
"""

from typing import Final, NamedTuple

from controlplane.authentication.errors import KeySetError
from controlplane.authentication.key_set import read_key_set
from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import RequestAuthentication, TokenIssuer
from controlplane.model.names import Name
from controlplane.model.problem import Severity
from controlplane.model.token_rule import REFUSING_KEYS, FetchedKeySet, KeySetRequest

_DISCOVERY: Final = "/.well-known/openid-configuration"
_REFUSED: Final = "every token is refused"

FetchedKeySets = Collection[str, FetchedKeySet]
"""What came of fetching, by URI."""

_Needs = tuple[KeySetRequest, ...]


class IssuerKeys(NamedTuple):
    """The key set ``text``, and what is wrong with it at ``field``; ``message`` "" is nothing."""

    text: str
    severity: Severity = Severity.INFO
    field: str = ""
    message: str = ""


def keys_uri(issuer: TokenIssuer) -> str:
    """Return where the keys of ``issuer`` are fetched; "" when they are written, or nowhere."""
    if issuer.keys:
        return ""
    if issuer.keys_uri:
        return issuer.keys_uri
    if issuer.issuer.startswith(("https://", "http://")):
        return issuer.issuer.rstrip("/") + _DISCOVERY
    return ""


def keys_of(fetch: Fetch, fetched: FetchedKeySets, issuer: TokenIssuer) -> IssuerKeys:
    """Return the keys of ``issuer``, and what is wrong with them."""
    if issuer.keys:
        return _written(issuer.keys)
    uri = keys_uri(issuer)
    if not uri:
        message = f"there are no keys, and the issuer is no URL to ask; {_REFUSED}"
        return IssuerKeys(REFUSING_KEYS, Severity.ERROR, "issuer", message)
    severity, message = Severity.INFO, ""
    found = fetch.one(fetched, uri)
    if found is None:
        message = f"the keys at {uri} are not fetched here, or not yet; {_REFUSED}"
    elif not found.keys:
        severity = Severity.ERROR
        message = f"the keys at {uri} cannot be had: {found.failure}; {_REFUSED}"
    elif found.failure:
        severity = Severity.WARNING
        message = f"the keys at {uri} cannot be had now, older ones are used: {found.failure}"
    keys = found.keys if found is not None else ""
    field = "jwksUri" if issuer.keys_uri else "issuer"
    return IssuerKeys(keys or REFUSING_KEYS, severity, field, message)


def build_needed_keys(
    graph: Graph, manifests: Collection[Name, RequestAuthentication]
) -> Collection[str, KeySetRequest]:
    """Declare the key sets that policies with targets need on ``graph``, by URI."""
    needing = graph.derive("needs of token policies", manifests, _needs)
    by_uri = needing.index(
        "needs of token policies by address",
        lambda needs: tuple(dict.fromkeys(need.uri for need in needs)),
    )

    def request(fetch: Fetch, uri: str) -> KeySetRequest:
        found = (need for needs in fetch.where(by_uri, uri) for need in needs if need.uri == uri)
        return KeySetRequest(uri, max(need.seconds for need in found))

    addresses = graph.distinct("addresses of key sets", by_uri)
    return graph.derive("needed key sets", addresses, request)


def _needs(_: Fetch, manifest: RequestAuthentication) -> _Needs | None:
    if not manifest.target_references:
        return None
    needs = (KeySetRequest(keys_uri(each), each.timeout) for each in manifest.issuers)
    return tuple(dict.fromkeys(need for need in needs if need.uri)) or None


def _written(text: str) -> IssuerKeys:
    try:
        return IssuerKeys(read_key_set(text))
    except KeySetError as error:
        message = f"the key set cannot be used: {error.reason}; {_REFUSED}"
        return IssuerKeys(REFUSING_KEYS, Severity.ERROR, "jwks", message)
