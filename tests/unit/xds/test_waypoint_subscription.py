"""What one stream of a waypoint may ask for, and what is made of its refusals."""

from itertools import count

import pytest

from controlplane.encode.envelope import CLUSTER_TYPE, ROUTE_TYPE
from controlplane.snapshots.catalog import Catalog
from controlplane.xds import waypoint_subscription
from controlplane.xds.errors import MalformedRequestError
from tests.support.discovery import a_request, parsed, taken
from tests.support.waypoint_discovery import a_cluster, a_waypoint_session, from_waypoint, put


@pytest.mark.proves("WS-27")
def test_a_long_refusal_is_read_as_far_as_there_is_room() -> None:
    session = a_waypoint_session(Catalog())
    names = [f"name-{number}" for number in range(500)]
    session.receive(from_waypoint(a_request(ROUTE_TYPE, subscribe=names)))
    (response,) = taken(session)
    far = "x " * 40_000 + "name-1"
    session.receive(a_request(ROUTE_TYPE, nonce=parsed(response).nonce, error=far))
    refused = session.subscriptions[ROUTE_TYPE]
    assert len(refused.last_error) == 64 * 1024
    assert len(refused.rejected) == 500


@pytest.mark.proves("WS-27")
def test_there_are_limits_to_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waypoint_subscription, "MOST_CHARACTERS", 100)
    session = a_waypoint_session(Catalog())
    session.receive(from_waypoint(a_request(ROUTE_TYPE, subscribe=["x" * 60])))
    with pytest.raises(MalformedRequestError):
        session.receive(a_request(ROUTE_TYPE, subscribe=["y" * 60]))


@pytest.mark.refutes("WS-27")
def test_names_that_are_dropped_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waypoint_subscription, "MOST_CHARACTERS", 100)
    session = a_waypoint_session(Catalog())
    session.receive(from_waypoint(a_request(ROUTE_TYPE, subscribe=["x" * 60])))
    for number in count():
        old, new = f"{number:060}", f"{number + 1:060}"
        session.receive(a_request(ROUTE_TYPE, unsubscribe=["x" * 60, old]))
        session.receive(a_request(ROUTE_TYPE, subscribe=[new, new]))
        if number == 3:
            return


@pytest.mark.proves("WS-8")
def test_names_are_found_whole_in_what_was_said() -> None:
    catalog = Catalog()
    names = ["inbound-vip|80|http|web.shop", "inbound-vip|80|http|web.shop.svc", "b|80|http|*.a.io"]
    put(catalog, cluster=[a_cluster(name) for name in names])
    session = a_waypoint_session(catalog)
    session.receive(from_waypoint(a_request(CLUSTER_TYPE)))
    (response,) = taken(session)
    said = f"Error adding/updating cluster(s) {names[1]}: no such thing, {names[2]}: neither."
    session.receive(a_request(CLUSTER_TYPE, nonce=parsed(response).nonce, error=said))
    assert set(session.subscriptions[CLUSTER_TYPE].rejected) == set(names[1:])
