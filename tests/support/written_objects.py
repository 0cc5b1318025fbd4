"""Routes, policies and mesh configurations at random, as they are written: whatever may be."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_documents
from tests.support.builders import HBONE, a_pod, a_service, a_service_port, a_waypoint
from tests.support.policy_cases import TEXTS
from tests.support.tokens import ISSUER, key_set
from tests.support.waypoint_meshes import SHARED

Written = dict[str, Any]
FETCHED = "https://issuer.example/keys"
PROVIDERS = ("asked-http", "asked-grpc", "asked-grpc", "nobody")

_ODD = ("", " ", "%", "%REQ(x)%", "é", "a\nb", "\0", "(", "[z-a]", "\\1", "*", "x" * 5000, "-1")
_NAMES = st.sampled_from(("one", "one", "one", "two"))
_NAMESPACES = st.sampled_from((*("shop",) * 6, "bank"))
_PORTS = st.sampled_from((80, 80, 443, 7000, 8080))
_SERVICE = ("", "Service")
_ENTRY = ("networking.istio.io", "ServiceEntry")


def _text(*usual: str) -> st.SearchStrategy[str]:
    """Return mostly what is usual."""
    return st.sampled_from((*usual * (600 // len(usual)), *_ODD))


def _some(values: st.SearchStrategy[Any], most: int = 2, least: int = 0) -> Any:
    return st.lists(values, min_size=least, max_size=most)


def _with(required: Written | None = None, **optional: Any) -> st.SearchStrategy[Written]:
    return st.fixed_dictionaries(required or {}, optional=optional)


def _reference(*kinds: tuple[str, str], **optional: Any) -> st.SearchStrategy[Written]:
    return st.builds(
        lambda kind, rest: {"group": kind[0], "kind": kind[1], **rest},
        st.sampled_from(kinds),
        _with({"name": _NAMES}, **optional),
    )


_DURATIONS = _text("0s", "10s", "1h30m", "500ms")
_HEADERS = _text("x-color", "X-Size", "cookie")
_VALUES = _text("red", "100%", "a,b", "%41")
_HOSTS = _text("a.example", "b.example", "10.0.0.1")
_PATHS = _text("/", "/a", "/a/", "/a/b", "/%41")
_PATTERNS = ("red", "r.*", "[a-z]+", "(red|blue)", r"\d{3}")
_KINDS = _text("Exact", "RegularExpression")
_MODIFIER = _with(
    set=_some(_with({"name": _HEADERS}, value=_VALUES)),
    add=_some(_with({"name": _HEADERS}, value=_VALUES)),
    remove=_some(_HEADERS),
)
_PATH_CHANGE = st.one_of(
    _with({"type": st.just("ReplaceFullPath"), "replaceFullPath": _PATHS}),
    _with({"type": st.just("ReplacePrefixMatch"), "replacePrefixMatch": _PATHS}),
)
_TARGET = _reference(*(_SERVICE,) * 5, _ENTRY, namespace=_NAMESPACES)
_SHARE = st.sampled_from(({}, {"percent": 0}, {"percent": 50}))
_FRACTION = st.just({"fraction": {"numerator": 1, "denominator": 3}})


def _filter(kind: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[Written]:
    name = "URLRewrite" if kind == "urlRewrite" else kind[0].upper() + kind[1:]
    return value.map(lambda each: {"type": name, kind: each})


_HEADER_FILTERS = (
    _filter("requestHeaderModifier", _MODIFIER),
    _filter("responseHeaderModifier", _MODIFIER),
)
_MIRROR = _filter(
    "requestMirror",
    st.builds(
        lambda target, port, share: {"backendRef": {**target, "port": port}, **share},
        _TARGET,
        _PORTS,
        st.one_of(_SHARE, _FRACTION),
    ),
)
_CROSS_ORIGIN = _with(
    allowOrigins=_some(_text("*", "https://a.example", "https://*.example")),
    allowCredentials=st.booleans(),
    allowMethods=_some(_text("GET", "*")),
    allowHeaders=_some(_text("x-one", "*")),
    exposeHeaders=_some(_HEADERS),
    maxAge=st.sampled_from((0, 5, 2**31 - 1)),
).map(lambda value: {"type": "CORS", "cors": value})
_REDIRECT = _with(
    scheme=_text("http", "https"),
    hostname=_HOSTS,
    path=_PATH_CHANGE,
    port=_PORTS,
    statusCode=st.sampled_from((301, 302, 303, 307, 308, 308, 301, 302, 200)),
)
_CALL_FILTERS = st.one_of(*_HEADER_FILTERS, _MIRROR)
_USUAL_FILTERS = st.sampled_from(
    (
        {"type": "URLRewrite", "urlRewrite": {"hostname": "a.example"}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "one", "port": 80}}},
        {"type": "CORS", "cors": {"allowOrigins": ["https://*.example"]}},
    )
)
_FILTERS = st.one_of(
    *_HEADER_FILTERS,
    _MIRROR,
    _CROSS_ORIGIN,
    _filter("urlRewrite", _with(hostname=_HOSTS, path=_PATH_CHANGE)),
    _USUAL_FILTERS,
    _USUAL_FILTERS,
)
_ANSWERS = st.one_of(
    _filter("requestRedirect", _REDIRECT),
    _filter("requestRedirect", _REDIRECT),
    st.just({"type": "ExtensionRef"}),
)
_NAMED = _with(
    {
        "name": _text("x-color", "X-Size", "@request.auth.claims.group"),
        "value": _text(*_PATTERNS),
    },
    type=_KINDS,
)
_METHODS = _text("GET", "POST", "OPTIONS")
_MATCH = _with(
    path=_with(
        {"value": _text("/", "/a", "/a/", "/a/.*", "/[^/]+")},
        type=_text("Exact", "PathPrefix", "RegularExpression"),
    ),
    headers=_some(_NAMED),
    queryParams=_some(_NAMED),
    method=_METHODS,
)
_CALL_MATCH = _with(
    method=_with(type=_KINDS, service=_text("a.Echo", "b.*"), method=_text("Say", "C[a-z]+")),
    headers=_some(_NAMED),
)
_BACKENDS = _reference(
    *(_SERVICE,) * 6,
    *(_ENTRY, ("storage", "Bucket")),
    port=_PORTS,
    namespace=_NAMESPACES,
    weight=st.sampled_from((0, 1, 10, 1_000_000)),
    filters=_some(st.one_of(*_HEADER_FILTERS), 1),
)
_BACKEND = st.one_of(
    st.just({"name": "one", "port": 80}), st.just({"name": "one", "port": 8080}), _BACKENDS
)
_RETRY = _with(
    codes=_some(st.sampled_from((500, 503, 599))),
    attempts=st.sampled_from((0, 1, 3, 2**31 - 1)),
    backoff=_DURATIONS,
)
_SESSION = _with(
    type=_text("Cookie", "Header"),
    sessionName=_text("keep", "x-keep"),
    absoluteTimeout=_DURATIONS,
    idleTimeout=_DURATIONS,
    cookieConfig=_with(lifetimeType=_text("Session", "Permanent")),
)
_PARENTS = _some(_reference(*(_SERVICE,) * 5, _ENTRY, port=_PORTS), least=1)


def _object(
    version: str, kind: str, spec: st.SearchStrategy[Written], annotations: Any = None
) -> st.SearchStrategy[Written]:
    namespace = st.sampled_from((*("shop",) * 6, "bank", "istio-system"))
    metadata = {"name": st.sampled_from(("a", "b", "c", "d")), "namespace": namespace}
    if annotations is None:
        annotations = st.just({})
    return _with(
        {
            "apiVersion": st.just(version),
            "kind": st.just(kind),
            "metadata": _with(metadata, annotations=annotations),
            "spec": spec,
        }
    )


def _rule(match: Any, filters: Any) -> st.SearchStrategy[Written]:
    return _with(
        name=_text("first", "second"),
        matches=_some(match),
        filters=_some(filters),
        backendRefs=_some(_BACKEND, 3),
        timeouts=_with(request=_DURATIONS, backendRequest=_DURATIONS),
        retry=_RETRY,
        sessionPersistence=_SESSION,
    )


def _route(kind: str, *rules: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    spec = _with({"parentRefs": _PARENTS, "rules": _some(st.one_of(*rules), least=1)})
    return _object("gateway.networking.k8s.io/v1", kind, spec)


_POLICY_TARGETS = _some(
    st.one_of(
        st.just({"group": "", "kind": "Service", "name": "one"}),
        _reference(_SERVICE, _ENTRY),
        _reference(("gateway.networking.k8s.io", "Gateway")),
        st.just(
            {
                "group": "gateway.networking.k8s.io",
                "kind": "GatewayClass",
                "name": "istio-waypoint",
            }
        ),
    ),
    least=1,
)


def _matching(key: str) -> Any:
    return _some(_text(*TEXTS[key]), least=1)


def _both_ways(**keys: str) -> st.SearchStrategy[Written]:
    """Return objects with fields, and those that say what must not be, by key of their values."""
    fields: dict[str, Any] = {}
    for name, key in keys.items():
        fields[name] = _matching(key)
        fields[f"not{name[0].upper()}{name[1:]}"] = _matching(key)
    return _with(**fields)


_FROM = _both_ways(
    principals="source.principal",
    requestPrincipals="request.auth.principal",
    namespaces="source.namespace",
    serviceAccounts="source.serviceAccount",
    trustDomains="source.trustDomain",
    ipBlocks="source.ip",
    remoteIpBlocks="remote.ip",
)
_TO = _both_ways(hosts="host", ports="destination.port", methods="method", paths="path")
_WHEN = st.sampled_from(sorted(set(TEXTS) - {"host", "method", "path"})).flatmap(
    lambda key: _with({"key": st.just(key), "values": _matching(key)}, notValues=_matching(key))
)
_POLICY = _object(
    "security.istio.io/v1",
    "AuthorizationPolicy",
    _with(
        {
            "targetRefs": _POLICY_TARGETS,
            "action": st.sampled_from(("CUSTOM", "ALLOW", "DENY", "AUDIT", "CUSTOM")),
            "provider": _with({"name": st.sampled_from(PROVIDERS)}),
        },
        rules=_some(
            _with(
                **{
                    "from": _some(_FROM.map(lambda value: {"source": value}), 1),
                    "to": _some(_TO.map(lambda value: {"operation": value}), 1),
                    "when": _some(_WHEN, 1),
                }
            ),
            least=1,
        ),
    ),
    annotations=st.sampled_from(({}, {}, {"istio.io/dry-run": "true"})),
)
_KEYS = st.sampled_from(
    (
        *({"jwks": key_set()}, {"jwks": key_set("one", "two")}, {"jwks": "{"}, {}),
        *({"jwksUri": FETCHED}, {"jwksUri": "https://other.example/keys"}),
    )
)
_ISSUER = st.builds(
    dict.__or__,
    _with(
        {"issuer": _text(ISSUER, "https://other.example")},
        audiences=_some(_text("shop", "bank")),
        fromHeaders=_some(_with({"name": _text("x-token", "x-jwt")}, prefix=_text("Token "))),
        fromParams=_some(_text("token", "t")),
        fromCookies=_some(_text("token", "t")),
        forwardOriginalToken=st.booleans(),
        outputPayloadToHeader=_text("x-payload"),
        outputClaimToHeaders=_some(
            _with({"header": _text("x-group"), "claim": _text("group", "a.b")})
        ),
        spaceDelimitedClaims=_some(_text("scope")),
        timeout=_text("5s"),
    ),
    _KEYS,
)
_TOKENS = _object(
    "security.istio.io/v1",
    "RequestAuthentication",
    _with({"targetRefs": _POLICY_TARGETS, "jwtRules": _some(_ISSUER)}),
)
_ASKED = _with(
    {
        "service": _text("one.shop.svc.cluster.local", "shop/one.shop.svc.cluster.local"),
        "port": _PORTS,
    },
    timeout=_text("5s", "0.25s"),
    failOpen=st.booleans(),
    clearRouteCache=st.booleans(),
    statusOnError=st.sampled_from(("503", 403, 403, 503, "200")),
    includeRequestBodyInCheck=_with(
        {"maxRequestBytes": st.sampled_from((1, 4096))},
        allowPartialMessage=st.booleans(),
        packAsBytes=st.booleans(),
    ),
)
_USUALLY_ASKED = {"service": "one.shop.svc.cluster.local", "port": 8080}
_ASKED_OVER_HTTP = st.builds(
    dict.__or__,
    _ASKED,
    _with(
        pathPrefix=_PATHS,
        includeRequestHeadersInCheck=_some(_text("x-color", "x-*", "*-id")),
        includeAdditionalHeadersInCheck=st.dictionaries(_HEADERS, _VALUES, max_size=1),
        headersToUpstreamOnAllow=_some(_text("x-user", "x-*")),
        headersToDownstreamOnDeny=_some(_text("x-why", "*")),
        headersToDownstreamOnAllow=_some(_text("set-cookie", "*-x")),
    ),
)
_MESH_CONFIG = _with(
    {
        "extensionProviders": st.builds(
            lambda http, calls: [
                {"name": PROVIDERS[0], "envoyExtAuthzHttp": http},
                {"name": PROVIDERS[1], "envoyExtAuthzGrpc": calls},
            ],
            _ASKED_OVER_HTTP,
            st.one_of(_ASKED, st.just(_USUALLY_ASKED)),
        )
    },
    trustDomain=st.sampled_from(("td", "cluster.local")),
    trustDomainAliases=_some(st.sampled_from(("old", "older"))),
    accessLogFile=_text("/dev/stdout", ""),
    accessLogEncoding=st.sampled_from(("TEXT", "JSON")),
    accessLogFormat=_text(
        "%START_TIME% %REQ(:PATH)%\n", '{"path": "%REQ(:PATH)%"}', "%GONE%", "%REQ(", ""
    ),
)
_ANSWERED = _with({"filters": _some(_ANSWERS, 1, 1)}, matches=_some(_MATCH))
# What nothing is wrong with.
_USUAL_RULE = {
    "matches": [{"queryParams": [{"name": "q", "value": "1"}]}],
    "filters": [
        {"type": "URLRewrite", "urlRewrite": {"hostname": "a.example"}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "one", "port": 80}}},
    ],
    "backendRefs": [{"name": "one", "port": 80}],
}
_REQUESTS = _route(
    "HTTPRoute", _rule(_MATCH, _FILTERS), _rule(_MATCH, _FILTERS), _ANSWERED, st.just(_USUAL_RULE)
)
_USUAL_POLICY = _object(
    "security.istio.io/v1",
    "AuthorizationPolicy",
    st.just(
        {
            "targetRefs": [{"group": "", "kind": "Service", "name": "one"}],
            "action": "CUSTOM",
            "provider": {"name": PROVIDERS[1]},
            "rules": [{}],
        }
    ),
)
_CALLS = _route("GRPCRoute", _rule(_CALL_MATCH, _CALL_FILTERS))
_BOUND = {"istio.io/use-waypoint": "one"}
_SERVED = [
    a_service_port(number, name=name)
    for number, name in {80: "http", 443: "https", 7000: "", 8080: "grpc"}.items()
]
# What routes and policies are mostly about.
_BASE: list[Manifest | MeshConfig] = [
    a_waypoint("one", "shop", listeners=(SHARED,)),
    a_service("one", "shop", labels=_BOUND, selector={"app": "a"}, ports=_SERVED),
    a_pod("a", "shop", labels={"app": "a"}, annotations=HBONE),
    a_service("two", "bank", ips=["10.96.0.2"], selector={"app": "a"}, ports=_SERVED),
    a_service("two", "shop", labels=_BOUND, ips=["10.96.0.3"], ports=_SERVED),
]


@st.composite
def written_objects(draw: Any) -> list[Manifest | MeshConfig]:
    """Return what can be read of some objects and a mesh configuration, each object once."""
    kinds = (
        (_REQUESTS, 3, 1),
        (_CALLS, 1, 0),
        (st.one_of(_POLICY, _POLICY, _POLICY, _USUAL_POLICY), 2, 1),
        (_TOKENS, 1, 0),
    )
    found = _read(each for kind in kinds for each in draw(_some(*kind)))
    config = draw(_MESH_CONFIG)
    text = json.dumps(config)
    found += _BASE[: draw(st.sampled_from((5, 5, 4, 4, 0)))]
    return [*found, *(each.manifest for each in read_documents(text, "meshconfig.yaml").documents)]


def _read(objects: Iterable[Written]) -> list[Manifest | MeshConfig]:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    found = {each.identity: each.manifest for each in read_documents(text).documents}
    return list(found.values())
