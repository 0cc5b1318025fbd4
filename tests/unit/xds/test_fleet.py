"""The fleet shows what clients were sent and accepted."""

from controlplane.snapshots.scope import ADDRESS_TYPE
from controlplane.xds.fleet import Fleet
from tests.support.discovery import (
    a_catalog,
    a_request,
    a_session,
    a_workload,
    acknowledge,
    introduced,
    put,
    taken,
)

POD = a_workload("c//Pod/ns/a")


def test_clients_appear_when_they_introduce_themselves_and_go() -> None:
    fleet = Fleet()
    session = a_session(a_catalog(POD))
    fleet.add(session)
    assert (len(fleet), fleet.clients()) == (1, ())
    session.receive(introduced(a_request(), kind="waypoint"))
    assert [client.node.kind for client in fleet.clients()] == ["waypoint"]
    fleet.remove(session)
    assert len(fleet) == 0


def test_progress_and_rejections_are_visible() -> None:
    catalog = a_catalog(POD)
    fleet = Fleet()
    session = a_session(catalog)
    fleet.add(session)
    session.receive(introduced(a_request(), kind="waypoint"))
    (first,) = taken(session)
    acknowledge(session, first)
    put(catalog, a_workload("c//Pod/ns/b"))
    (second,) = taken(session)
    session.receive(a_request(nonce=second.nonce, error="c//Pod/ns/b: bad"))
    (status,) = fleet.clients()[0].types
    assert (status.type_url, status.is_on_demand, status.is_in_flight) == (
        ADDRESS_TYPE,
        False,
        False,
    )
    assert (status.commit_sent, status.commit_acknowledged) == (2, 1)
    assert (status.nonce_sent, status.nonce_acknowledged) == ("2", "1")
    assert status.rejected == ("c//Pod/ns/b",)
