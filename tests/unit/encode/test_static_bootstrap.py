"""One file that asks nobody for anything."""

import json

import pytest

from controlplane.encode.static_bootstrap import (
    Discovered,
    Secrets,
    static_bootstrap,
    static_resources,
)
from controlplane.snapshots.scope import CLUSTER_TYPE, LISTENER_TYPE
from tests.support.builders import a_pod, a_service, a_waypoint
from tests.support.waypoint_snapshots import WAYPOINT, Waypoints

SECRETS = Secrets(chain="a chain", key="a key", roots="some roots")
WEB = "inbound-vip|80|http|web.shop.svc.cluster.local"


def _waypoints() -> Waypoints:
    waypoints = Waypoints()
    labels = {"istio.io/use-waypoint": WAYPOINT.name}
    waypoints.apply(
        a_waypoint(WAYPOINT.name, "shop"),
        a_service("web", "shop", labels=labels, selector={"app": "web"}),
        a_pod("web", "shop", labels={"app": "web"}),
    )
    return waypoints


@pytest.mark.proves("WC-39")
def test_nothing_is_asked_of_anybody() -> None:
    resources = _waypoints().static(SECRETS)
    text = json.dumps(static_bootstrap(resources))
    for asked in ('"ads"', '"rds"', "sds_config", "eds_cluster_config"):
        assert asked not in text
    for given in ("a chain", "a key", "some roots", "10.0.0.1", "unrouted"):
        assert given in text
    assert "spiffe://cluster.local/" in text


@pytest.mark.refutes("WC-39")
def test_what_was_not_discovered_stays_a_name() -> None:
    waypoints = _waypoints()
    resources = static_resources(
        Discovered(
            listeners=waypoints.documents(LISTENER_TYPE).values(),
            clusters=[waypoints.documents(CLUSTER_TYPE)[WEB]],
            secrets=SECRETS,
        )
    )
    text = json.dumps(resources)
    assert "rds" in text
    assert "eds_cluster_config" in text


def test_documents_are_not_changed() -> None:
    waypoints = _waypoints()
    documents = waypoints.documents(CLUSTER_TYPE)
    before = json.dumps(documents)
    static_resources(Discovered(clusters=documents.values(), secrets=SECRETS))
    assert json.dumps(documents) == before
