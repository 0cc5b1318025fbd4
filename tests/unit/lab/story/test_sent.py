"""What a step tells of what was sent."""

from datetime import UTC, datetime

import pytest

from controlplane.lab.story.sent import Sent, short
from controlplane.model.connection import Connection, TypeProgress

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def _connection(kind: str = "waypoint", **accepted: int) -> Connection:
    urls = {"listener": LISTENER, "routes": ROUTES}
    return Connection(
        replica="r",
        number=1,
        node_id="n",
        kind=kind,
        pod="waypoint-5rs8v6t2p6-pc5ww",
        namespace="shop",
        node="node-1",
        version="",
        cluster="Kubernetes",
        peer="",
        identity="shop/waypoint",
        connected_at=datetime(2026, 1, 1, tzinfo=UTC),
        types=tuple(
            TypeProgress(type_url=urls[name], commit_acknowledged=commit)
            for name, commit in accepted.items()
        ),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Kubernetes//Pod/shop/web-v1-f99lm9f9mb-2mfrn", "web-v1"),
        ("shop/web.shop.svc.cluster.local", "web"),
        ("shop/readers", "shop/readers"),
        ("waypoint-5rs8v6t2p6-pc5ww", "waypoint"),
        ("bare", "bare"),
    ],
)
def test_names_are_those_that_people_use(name: str, expected: str) -> None:
    assert short(name) == expected


def test_what_envoys_accepted_since_the_beginning_is_told() -> None:
    sent = Sent()
    sent.begin([_connection(listener=3, routes=3)])
    assert sent.lines([_connection(listener=3, routes=3)]) == []
    assert sent.lines([_connection(listener=3, routes=4)]) == [
        "waypoint, an Envoy, accepted routes",
    ]
    sent.begin([])
    assert sent.lines([_connection(listener=3, routes=4)]) == [
        "waypoint, an Envoy, accepted listeners, routes",
    ]


def test_node_proxies_are_none_of_them() -> None:
    sent = Sent()
    sent.begin([])
    assert sent.lines([_connection(kind="ztunnel", listener=3)]) == []
    assert sent.lines([_connection(routes=-1)]) == []
