"""What Gateway API's tests for meshes ask, of a whole mesh with a real Envoy as its waypoint.

The names are those of the tests there; what they ask is written in our own words. GRPCRoutes are in
``tests.e2e.waypoint.test_conformance_calls``. docs/conformance.md tells which feature is which.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from tests.support.echoes import CALLERS, a_route, some_echoes
from tests.support.lab_mesh import a_lab

_ATTEMPTS = 50
_SHARES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request and what has to come of it.

    ``to`` is the version that answers, ``path`` the one it is asked for and ``sees`` headers that
    it gets, None for those it must not; ``says`` are headers of the answer, likewise.
    """

    url: str
    source: str = "echo"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    to: str = ""
    path: str = ""
    sees: Mapping[str, str | None] = field(default_factory=dict)
    says: Mapping[str, str | None] = field(default_factory=dict)


def redirected(path: str, status: int, location: str) -> Ask:
    return Ask(url=f"http://echo{path}", status=status, says={"location": location})


_HEADERS = """
- matches: [{path: {type: PathPrefix, value: /set}}]
  filters:
  - type: KIND
    FIELD: {set: [{name: X-Header-Set, value: new}]}
  backendRefs: [{name: echo-v1, port: 8080}]
- matches: [{path: {type: PathPrefix, value: /add}}]
  filters:
  - type: KIND
    FIELD: {add: [{name: X-Header-Add, value: more}]}
  backendRefs: [{name: echo-v1, port: 8080}]
- matches: [{path: {type: PathPrefix, value: /remove}}]
  filters:
  - type: KIND
    FIELD: {remove: [X-Header-Remove]}
  backendRefs: [{name: echo-v1, port: 8080}]
"""
_REQUEST_HEADERS = _HEADERS.replace("KIND", "RequestHeaderModifier").replace(
    "FIELD", "requestHeaderModifier"
)
_BACKEND_HEADERS = """
- matches: [{path: {type: PathPrefix, value: /set}}]
  backendRefs:
  - name: echo-v1
    port: 8080
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Header-Set, value: new}]
        add: [{name: X-Header-Add, value: more}]
        remove: [X-Header-Remove]
"""
_CHANGED = (
    Ask(url="http://echo/set", to="v1", sees={"x-header-set": "new"}),
    Ask(
        url="http://echo/set",
        headers={"X-Header-Set": "old", "Some-Other": "kept"},
        to="v1",
        sees={"x-header-set": "new", "some-other": "kept"},
    ),
    Ask(
        url="http://echo/add",
        headers={"X-Header-Add": "first"},
        to="v1",
        sees={"x-header-add": "first,more"},
    ),
    Ask(
        url="http://echo/remove",
        headers={"X-Header-Remove": "gone"},
        to="v1",
        sees={"x-header-remove": None},
    ),
)
_SET_ON_ANSWERS = """
- filters:
  - type: ResponseHeaderModifier
    responseHeaderModifier: {set: [{name: X-Header-Set, value: VALUE}]}
  backendRefs: [{name: BACKEND, port: PORT}]
"""


def on_answers(value: str, backend: str, port: int = 80) -> str:
    rules = _SET_ON_ANSWERS.replace("VALUE", value).replace("BACKEND", backend)
    return rules.replace("PORT", str(port))


def a_redirect(*rules: tuple[str, str]) -> str:
    return "\n".join(
        f"- matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}]\n"
        f"  filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]"
        for prefix, redirect in rules
    )


_NEW_PREFIX = "{type: ReplacePrefixMatch, replacePrefixMatch: /new-prefix}"
_REPLACED = "{type: ReplaceFullPath, replaceFullPath: /replaced}"


@dataclass(frozen=True, slots=True)
class Situation:
    """Routes and what is asked while they are there."""

    routes: Sequence[dict[str, Any]]
    asks: Sequence[Ask]
    waypoint: bool = True


SITUATIONS: dict[str, Situation] = {
    "MeshBasic": Situation(
        [], [Ask(url="http://echo/"), Ask(url="http://echo-v2/", to="v2")], waypoint=False
    ),
    "MeshBasic with a waypoint": Situation([], [Ask(url="http://echo/")]),
    "MeshFrontend": Situation(
        [a_route(on_answers("set", "echo-v2"), parent="echo-v2")],
        [
            Ask(url="http://echo-v2/", to="v2", says={"x-header-set": "set"}),
            Ask(url="http://echo-v1/", to="v1", says={"x-header-set": None}),
        ],
    ),
    "MeshFrontendHostname": Situation(
        [a_route(on_answers("set", "echo-v2"), parent="echo-v2")],
        [
            Ask(
                url="http://echo-v2/",
                headers={"Host": "echo-v1"},
                to="v2",
                says={"x-header-set": "set"},
            ),
            Ask(
                url="http://echo-v1/",
                headers={"Host": "echo-v2"},
                to="v1",
                says={"x-header-set": None},
            ),
        ],
    ),
    "MeshPorts": Situation(
        [
            a_route(on_answers("v1", "echo-v1"), name="one", parent="echo-v1", port=80),
            a_route(on_answers("v2", "echo-v2"), name="two", parent="echo-v2"),
        ],
        [
            Ask(url="http://echo-v1/", to="v1", says={"x-header-set": "v1"}),
            Ask(url="http://echo-v1:8080/", to="v1", says={"x-header-set": None}),
            Ask(url="http://echo-v2/", to="v2", says={"x-header-set": "v2"}),
            Ask(url="http://echo-v2:8080/", to="v2", says={"x-header-set": "v2"}),
        ],
    ),
    "MeshTrafficSplit": Situation(
        [
            a_route("""
- matches: [{path: {type: Exact, value: /v1}}]
  backendRefs: [{name: echo-v1, port: 80}]
- matches: [{path: {type: Exact, value: /v2}}]
  backendRefs: [{name: echo-v2, port: 80}]
""")
        ],
        [Ask(url="http://echo/v1", to="v1"), Ask(url="http://echo/v2", to="v2")],
    ),
    "MeshConsumerRoute": Situation(
        [
            a_route(
                on_answers("set", "echo-v1").replace("port:", "namespace: echoes, port:"),
                namespace=CALLERS,
                parent="echo-v1",
            )
        ],
        [
            Ask(
                url="http://echo-v1.echoes/",
                source="caller",
                to="v1",
                says={"x-header-set": "set"},
            ),
            Ask(url="http://echo-v1.echoes/", to="v1", says={"x-header-set": None}),
        ],
    ),
    "MeshHTTPRouteSimpleSameNamespace": Situation(
        [a_route("[{backendRefs: [{name: echo-v2, port: 80}]}]")],
        [Ask(url="http://echo/", to="v2")],
    ),
    "MeshHTTPRouteMatching": Situation(
        [
            a_route("""
- matches:
  - path: {type: PathPrefix, value: /}
  - headers: [{name: version, value: one}]
  backendRefs: [{name: echo-v1, port: 8080}]
- matches:
  - path: {type: PathPrefix, value: /v2}
  - headers: [{name: version, value: two}]
  backendRefs: [{name: echo-v2, port: 8080}]
""")
        ],
        [
            *(
                Ask(url=f"http://echo{path}", to="v1")
                for path in ("/", "/example", "/v2example", "/foo/v2/example")
            ),
            *(Ask(url=f"http://echo{path}", to="v2") for path in ("/v2", "/v2/", "/v2/example")),
            Ask(url="http://echo/", headers={"Version": "one"}, to="v1"),
            Ask(url="http://echo/", headers={"Version": "two"}, to="v2"),
        ],
    ),
    "MeshHTTPRouteQueryParamMatching": Situation(
        [
            a_route("""
- matches: [{queryParams: [{name: animal, value: whale}]}]
  backendRefs: [{name: echo-v1, port: 8080}]
- matches: [{queryParams: [{name: animal, value: dolphin}, {name: color, value: blue}]}]
  backendRefs: [{name: echo-v2, port: 8080}]
- matches:
  - path: {type: PathPrefix, value: /path1}
    queryParams: [{name: color, value: red}]
  backendRefs: [{name: echo-v2, port: 8080}]
""")
        ],
        [
            Ask(url="http://echo/?animal=whale", to="v1"),
            Ask(url="http://echo/?animal=dolphin&color=blue", to="v2"),
            Ask(url="http://echo/path1?color=red", to="v2"),
            Ask(url="http://echo/?color=red", status=404),
            Ask(url="http://echo/?animal=dolphin", status=404),
            Ask(url="http://echo/?animal=shark", status=404),
            Ask(url="http://echo/", status=404),
        ],
    ),
    "MeshHTTPRouteRequestHeaderModifier": Situation([a_route(_REQUEST_HEADERS)], _CHANGED),
    "MeshHTTPRouteBackendRequestHeaderModifier": Situation(
        [a_route(_BACKEND_HEADERS)],
        [
            Ask(
                url="http://echo/set",
                headers={"X-Header-Set": "old", "X-Header-Remove": "gone"},
                to="v1",
                sees={"x-header-set": "new", "x-header-add": "more", "x-header-remove": None},
            )
        ],
    ),
    "MeshHTTPRouteRedirectHostAndStatus": Situation(
        [
            a_route(
                a_redirect(
                    ("/hostname", "{hostname: example.org}"),
                    ("/host-and-status", "{hostname: example.org, statusCode: 301}"),
                ),
                port=80,
            )
        ],
        [
            redirected("/hostname", 302, "http://example.org/hostname"),
            redirected("/host-and-status", 301, "http://example.org/host-and-status"),
        ],
    ),
    **{
        f"MeshHTTPRoute{status}Redirect": Situation(
            [a_route(a_redirect(("/there", f"{{hostname: example.org, statusCode: {status}}}")))],
            [redirected("/there", status, "http://example.org/there")],
        )
        for status in (303, 307, 308)
    },
    "MeshHTTPRouteRedirectPort": Situation(
        [
            a_route(
                a_redirect(
                    ("/port", "{port: 8083}"),
                    ("/port-and-host", "{port: 8083, hostname: example.org}"),
                    ("/port-and-status", "{port: 8083, statusCode: 301}"),
                ),
                port=80,
            )
        ],
        [
            redirected("/port", 302, "http://echo:8083/port"),
            redirected("/port-and-host", 302, "http://example.org:8083/port-and-host"),
            redirected("/port-and-status", 301, "http://echo:8083/port-and-status"),
        ],
    ),
    "MeshHTTPRouteSchemeRedirect": Situation(
        [
            a_route(
                a_redirect(
                    ("/scheme", "{scheme: https}"),
                    ("/scheme-and-host", "{scheme: https, hostname: example.org}"),
                    ("/scheme-and-status", "{scheme: https, statusCode: 301}"),
                ),
                port=80,
            )
        ],
        [
            redirected("/scheme", 302, "https://echo/scheme"),
            redirected("/scheme-and-host", 302, "https://example.org/scheme-and-host"),
            redirected("/scheme-and-status", 301, "https://echo/scheme-and-status"),
        ],
    ),
    "MeshHTTPRouteRedirectPath": Situation(
        [
            a_route(
                a_redirect(
                    (
                        "/original-prefix",
                        f"{{path: {_NEW_PREFIX}}}",
                    ),
                    ("/full", f"{{path: {_REPLACED}}}"),
                    (
                        "/path-and-host",
                        f"{{hostname: example.org, path: {_NEW_PREFIX}}}",
                    ),
                    (
                        "/full-and-status",
                        f"{{statusCode: 301, path: {_REPLACED}}}",
                    ),
                ),
                port=80,
            )
        ],
        [
            redirected("/original-prefix/lemon", 302, "http://echo/new-prefix/lemon"),
            redirected("/full/path/original", 302, "http://echo/replaced"),
            redirected("/path-and-host", 302, "http://example.org/new-prefix"),
            redirected("/full-and-status", 301, "http://echo/replaced"),
        ],
    ),
    "MeshHTTPRouteRewritePath": Situation(
        [
            a_route("""
- matches: [{path: {type: PathPrefix, value: /prefix/one}}]
  filters:
  - type: URLRewrite
    urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}
  backendRefs: [{name: echo-v1, port: 8080}]
- matches: [{path: {type: PathPrefix, value: /strip-prefix}}]
  filters:
  - type: URLRewrite
    urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
  backendRefs: [{name: echo-v1, port: 8080}]
- matches: [{path: {type: PathPrefix, value: /full/one}}]
  filters:
  - type: URLRewrite
    urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}
  - type: RequestHeaderModifier
    requestHeaderModifier: {set: [{name: X-Header-Set, value: new}]}
  backendRefs: [{name: echo-v1, port: 8080}]
""")
        ],
        [
            Ask(url="http://echo/prefix/one/two", to="v1", path="/one/two"),
            Ask(url="http://echo/strip-prefix/three", to="v1", path="/three"),
            Ask(url="http://echo/strip-prefix", to="v1", path="/"),
            Ask(url="http://echo/full/one/two", to="v1", path="/one", sees={"x-header-set": "new"}),
        ],
    ),
    "MeshHTTPRouteNamedRule": Situation(
        [
            a_route("""
- name: named-rule
  matches: [{path: {type: PathPrefix, value: /named}}]
  backendRefs: [{name: echo-v1, port: 8080}]
- matches: [{path: {type: PathPrefix, value: /unnamed}}]
  backendRefs: [{name: echo-v2, port: 8080}]
""")
        ],
        [Ask(url="http://echo/named", to="v1"), Ask(url="http://echo/unnamed", to="v2")],
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.timeout(60)
async def test_a_mesh_conforms(name: str, tmp_path: Path) -> None:
    situation = SITUATIONS[name]
    mesh_of = some_echoes(waypoint=situation.waypoint)
    async with a_lab(tmp_path, *mesh_of, *situation.routes) as (mesh, _):
        for ask in situation.asks:
            # A route may still be on its way.
            for _attempt in range(_ATTEMPTS):
                wrong = await _wrong(mesh, ask)
                if not wrong:
                    break
                await asyncio.sleep(0.1)
            assert wrong == [], ask.url


@pytest.mark.timeout(60)
async def test_weights_are_shares(tmp_path: Path) -> None:
    backends = "{name: echo-v1, port: 80, weight: 70}, {name: echo-v2, port: 80, weight: 30}"
    rules = f"[{{backendRefs: [{backends}]}}]"
    async with a_lab(tmp_path, *some_echoes(), a_route(rules)) as (mesh, _):
        found: Counter[str] = Counter()
        for _number in range(_SHARES):
            answer = await mesh.request("echo", "http://echo/")
            assert answer.status == 200, answer.failure
            found[_told(answer.body)["version"]] += 1
    assert 0.55 * _SHARES <= found["v1"] <= 0.85 * _SHARES
    assert found["v1"] + found["v2"] == _SHARES


async def _wrong(mesh: Lab, ask: Ask) -> list[str]:
    """What an answer has that was not asked for, or has not."""
    answer = await mesh.request(ask.source, ask.url, method=ask.method, headers=dict(ask.headers))
    if answer.status != ask.status:
        return [f"{answer.status}: {answer.failure}"]
    told = _told(answer.body) if answer.status == 200 else {}
    wrong = [
        f"{name}: {answer.headers.get(name)}"
        for name, value in ask.says.items()
        if answer.headers.get(name) != value
    ]
    wrong += [
        f"{name}: {told['headers'].get(name)}"
        for name, value in ask.sees.items()
        if told["headers"].get(name) != value
    ]
    if ask.to and told["version"] != ask.to:
        wrong.append(f"{told['version']} answered")
    if ask.path and told["path"] != ask.path:
        wrong.append(f"it was asked for {told['path']}")
    return wrong


def _told(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    return found
