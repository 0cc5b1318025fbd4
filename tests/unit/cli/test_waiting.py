"""Waiting for commits: what is asked, when it ends, and who is missing."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import typer

from controlplane.cli.proxy_connections import Reference
from controlplane.cli.server import Server
from controlplane.cli.wait import read_duration
from controlplane.cli.waiting import (
    Outcome,
    Progress,
    Time,
    Wanted,
    others_connected,
    wait_until_everywhere,
)

POLICY = Reference(kind="AuthorizationPolicy", namespace="shop", name="deny")


class Rig:
    """A server with two connections; time passes as the server is asked to wait."""

    def __init__(self, answer: Callable[[float], dict[str, Any]]) -> None:
        self.seconds = 0.0
        self.asked: list[dict[str, Any]] = []
        self.told: list[Progress] = []
        self.replicas = {"node-1": "r-1", "node-2": "r-2"}
        self._answer = answer
        transport = httpx.MockTransport(self._respond)
        self.server = Server(httpx.Client(base_url="http://istiod.test", transport=transport))

    def wait(self, wanted: Wanted, seconds: float = 10.0) -> Outcome:
        return wait_until_everywhere(
            self.server,
            wanted,
            seconds=seconds,
            time=Time(now=lambda: self.seconds, sleep=self._pass),
            tell=self.told.append,
        )

    def _pass(self, seconds: float) -> None:
        self.seconds += seconds

    def _respond(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/wait":
            body = json.loads(request.content)
            self.asked.append(body)
            answer = self._answer(self.seconds)
            if not answer["is_converged"]:
                self._pass(body["seconds"])
            return httpx.Response(200, json=answer)
        if request.url.path == "/api/v1/connections":
            replica = self.replicas.get(request.url.params["node"])
            items = [{"name": "a.b", "replica": replica}] if replica else []
            return httpx.Response(200, json={"items": items})
        assert request.url.path == "/api/v1/fleet"
        replicas = [
            {"name": "r-1", "is_this": True, "connections": 1},
            {"name": "r-2", "is_this": False, "connections": 4},
        ]
        return httpx.Response(200, json={"replicas": replicas})


def state(
    *, concerned: int = 2, acknowledged: int = 2, refused: int = 0, commit: int | None = 7
) -> dict[str, Any]:
    return {
        "is_converged": commit is not None and acknowledged == concerned,
        "commit": commit,
        "reason": "",
        "progress": {"concerned": concerned, "acknowledged": acknowledged, "refused": refused},
    }


def test_what_everybody_has_ends_at_once() -> None:
    rig = Rig(lambda _: state())
    outcome = rig.wait(Wanted(object=POLICY))
    assert outcome.is_converged
    assert rig.asked == [
        {
            "seconds": 2.0,
            "nodes": [],
            "object": {"kind": "AuthorizationPolicy", "namespace": "shop", "name": "deny"},
        }
    ]
    assert rig.told == []


def test_the_version_is_settled_by_the_first_answer_that_knows_it() -> None:
    answers = iter((state(commit=None), state(acknowledged=1), state()))
    rig = Rig(lambda _: next(answers))
    assert rig.wait(Wanted(object=POLICY)).is_converged
    assert [("object" in each, each.get("commit")) for each in rig.asked] == [
        (True, None),
        (True, None),
        (False, 7),
    ]
    assert [each.acknowledged for each in rig.told] == [2, 1]


def test_it_ends_on_time_and_asks_for_no_longer_than_is_left() -> None:
    rig = Rig(lambda _: state(acknowledged=1))
    outcome = rig.wait(Wanted(commit=7), seconds=5)
    assert not outcome.is_converged
    assert [each["seconds"] for each in rig.asked] == [2.0, 2.0, 1.0]
    assert rig.seconds == 5


def test_no_time_is_one_look() -> None:
    rig = Rig(lambda _: state(acknowledged=1))
    assert not rig.wait(Wanted(commit=7), seconds=0).is_converged
    assert [each["seconds"] for each in rig.asked] == [0.0]


def test_a_refusal_is_waited_out_only_while_others_are_missing() -> None:
    rig = Rig(lambda at: state(acknowledged=int(at >= 4), refused=1))
    outcome = rig.wait(Wanted(commit=7))
    assert not outcome.is_converged
    assert rig.seconds == 6


def test_a_node_that_is_wanted_has_to_be_there() -> None:
    rig = Rig(lambda _: state())
    outcome = rig.wait(Wanted(commit=7, nodes=("node-1", "node-2", "node-3")), seconds=1)
    assert not outcome.is_converged
    assert [tuple(each) for each in outcome.absent] == [
        ("node-2", "connected to r-2, not to r-1"),
        ("node-3", "not connected"),
    ]
    rig.replicas["node-3"] = rig.replicas["node-2"] = "r-1"
    assert rig.wait(Wanted(commit=7, nodes=("node-1", "node-2", "node-3"))).is_converged


def test_connections_of_others_are_counted() -> None:
    assert others_connected(Rig(lambda _: state()).server) == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90", 90), ("1m30s", 90), ("5m", 300), ("2h", 7200), ("0", 0), ("0.5s", 0.5)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "-1", "1s1m", "inf", "1e3", "\u0661s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        read_duration(text)
