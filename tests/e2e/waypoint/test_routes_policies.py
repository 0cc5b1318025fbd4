"""Whatever a route answers, a real Envoy asks the policies first."""

from pathlib import Path

import pytest

from controlplane.encode.override import Overrides, encode_overrides
from controlplane.model.http_policy import (
    Attribute,
    Criterion,
    HttpAction,
    HttpPolicy,
    HttpRule,
)
from controlplane.model.http_route import CrossOrigin, PathChange, PathChangeKind, Redirect, Rewrite
from controlplane.model.names import Name
from controlplane.model.policy import MatchType, StringMatch
from tests.support.hbone_certificates import an_identity
from tests.support.route_bed import ALICE, a_route, a_route_bed, to, under

ROUTES = (
    a_route("/goes", to("v1")),
    a_route("/nobody"),
    a_route("/invalid", to("")),
    a_route("/away", redirect=Redirect(hostname="other.example")),
    a_route(
        "/moved",
        to("v1"),
        rewrite=Rewrite(path=PathChange(PathChangeKind.PREFIX, "/secret")),
        cross_origin=CrossOrigin(allowed_origins=("*",)),
    ),
    a_route("/secret", to("v1")),
    a_route("theirs", to("v2"), match=under("/theirs"), consumer="client"),
)
PREFLIGHT = {"origin": "https://a.example", "access-control-request-method": "GET"}


def only_alice_and_no_secrets() -> Overrides:
    alice = StringMatch(MatchType.EXACT, ALICE.removeprefix("spiffe://"))
    secret = StringMatch(MatchType.PREFIX, "/secret")
    allowed = HttpRule(0, sources=((Criterion(Attribute.PRINCIPAL, (alice,)),),))
    denied = HttpRule(0, operations=((Criterion(Attribute.PATH, (secret,)),),))
    return encode_overrides(
        [
            HttpPolicy(key=Name("app", "alice"), action=HttpAction.ALLOW, rules=(allowed,)),
            HttpPolicy(key=Name("app", "secret"), action=HttpAction.DENY, rules=(denied,)),
        ]
    )


@pytest.mark.proves("EH-22")
@pytest.mark.refutes("EH-22")
async def test_who_is_denied_is_denied_whatever_the_route_answers(tmp_path: Path) -> None:
    paths = {"/goes": 200, "/nobody": 500, "/invalid": 500, "/away": 302, "/moved": 200}
    paths |= {"/nowhere": 404, "/theirs": 200}
    async with a_route_bed(ROUTES, tmp_path, overrides=only_alice_and_no_secrets()) as bed:
        async with bed.http() as http:
            for path, status in paths.items():
                assert (await http.get(path)).status_code == status, path
            assert (await http.get("/secret")).status_code == 403
            # Policies see the path that the client asked for, as the client asked for it.
            assert (await http.get("/moved/x")).json()["path"] == "/secret/x"
            assert (await http.options("/moved", headers=PREFLIGHT)).status_code == 200
        got = len(bed.applications.requests["v1"]) + len(bed.applications.requests["v2"])
        async with bed.http(an_identity("bob", "client")) as http:
            for path in paths:
                assert (await http.get(path)).status_code == 403, path
            assert (await http.options("/moved", headers=PREFLIGHT)).status_code == 403
        assert len(bed.applications.requests["v1"]) + len(bed.applications.requests["v2"]) == got


@pytest.mark.refutes("EH-22")
async def test_routes_that_lost_their_policies_let_nobody_in(tmp_path: Path) -> None:
    async with a_route_bed(ROUTES, tmp_path, overrides=()) as bed, bed.http() as http:
        for path in ("/goes", "/nobody", "/away", "/nowhere", "/theirs"):
            assert (await http.get(path)).status_code == 403, path
