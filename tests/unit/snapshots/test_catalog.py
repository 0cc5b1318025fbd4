"""The catalog: one commit for everything, views by kind of client."""

from controlplane.encode.resource import Resource
from controlplane.model.names import Name
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.frame import finished
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    CLUSTER_TYPE,
    GLOBAL_AUTHORIZATIONS,
    LISTENER_TYPE,
    node_authorizations,
    waypoint_resources,
)
from controlplane.snapshots.table import FRESH
from tests.support.discovery import a_catalog, a_policy, a_service, a_workload, put, remove

POD = a_workload("c//Pod/ns/a")
POLICY = a_policy("ns/p")


def test_nothing_is_visible_before_publish_and_everything_after() -> None:
    catalog = Catalog()
    catalog.stage(ADDRESSES, [(POD.name, POD)])
    catalog.stage(AUTHORIZATIONS, [(POLICY.name, POLICY)])
    assert len(catalog.addresses()) == len(catalog.authorizations(None)) == 0
    assert catalog.publish() == 1
    assert len(catalog.addresses()) == len(catalog.authorizations(None)) == 1


def test_a_publication_without_a_difference_is_no_commit_and_wakes_nobody() -> None:
    catalog = a_catalog(POD)
    commits: list[int] = []
    catalog.subscribe(commits.append)
    assert put(catalog, POD) == 1
    assert catalog.publish() == 1
    assert put(catalog, a_workload(POD.name, padding="2")) == 2
    assert commits == [2]


def test_frames_of_one_step_are_one_object() -> None:
    catalog = a_catalog(POD)
    put(catalog, a_service("ns/host"))
    first = catalog.addresses().frame(1)
    assert catalog.addresses().frame(1) is first
    assert (first.commit, first.updated, first.removed) == (2, 1, ())


def test_frames_hold_updates_and_lasting_removals() -> None:
    catalog = a_catalog(POD, a_service("ns/host"))
    remove(catalog, POD.name, "ns/host")
    put(catalog, POD)
    frame = catalog.addresses().frame(1)
    assert (frame.updated, frame.removed) == (1, ("ns/host",))
    assert catalog.addresses().frame(FRESH).removed == ()


def test_large_frames_come_in_pieces() -> None:
    pods = [a_workload(f"c//Pod/ns/{n}", padding="x" * 100_000) for n in range(8)]
    frame = a_catalog(*pods).addresses().frame(FRESH)
    assert len(frame.pieces) == 4
    assert frame.updated == 8


def test_a_node_sees_the_global_policies_and_its_own() -> None:
    catalog = a_catalog(policies=[a_policy("root/global")], key=GLOBAL_AUTHORIZATIONS)
    put(catalog, a_policy("ns/one"), key=node_authorizations("n1"))
    one, two = catalog.authorizations("n1"), catalog.authorizations("n2")
    assert (len(one), len(two)) == (2, 1)
    put(catalog, a_policy("ns/two"), key=node_authorizations("n2"))
    assert (len(one), len(two)) == (2, 2)


def test_a_policy_that_moves_between_tables_is_not_removed() -> None:
    catalog = a_catalog(policies=[POLICY], key=GLOBAL_AUTHORIZATIONS)
    catalog.stage(GLOBAL_AUTHORIZATIONS, [(POLICY.name, None)])
    catalog.stage(node_authorizations("n1"), [(POLICY.name, POLICY)])
    catalog.publish()
    assert catalog.authorizations("n1").frame(1).removed == ()
    assert catalog.authorizations("n2").frame(1).removed == (POLICY.name,)
    assert catalog.authorizations("n1").removed(1, 2) == []


def test_tables_of_empty_nodes_are_forgotten_and_clients_behind_are_told_so() -> None:
    catalog = a_catalog(policies=[POLICY], key=GLOBAL_AUTHORIZATIONS)
    view = catalog.authorizations("n0")
    for number in range(300):
        put(catalog, a_policy("ns/x"), key=node_authorizations(f"n{number}"))
        remove(catalog, "ns/x", key=node_authorizations(f"n{number}"))
    assert not view.reaches(2)
    assert view.reaches(catalog.commit)
    assert catalog.authorizations(None).reaches(1)


def test_a_difference_names_what_is_missing_and_what_changed() -> None:
    changed = a_workload("c//Pod/ns/b")
    catalog = a_catalog(POD, changed)
    known = {POD.name: POD.version, changed.name: "older", "c//Pod/ns/gone": "1"}
    frame = finished(catalog.addresses().difference(known, ["c//Pod/ns/never"], FRESH))
    assert frame.updated == 1
    assert frame.removed == ("c//Pod/ns/gone", "c//Pod/ns/never")


def test_difference_and_frames_breathe() -> None:
    catalog = a_catalog(*(a_workload(f"c//Pod/ns/{n}") for n in range(4000)))
    assert len(list(catalog.addresses().frame_slices(FRESH))) >= 2
    assert len(list(catalog.addresses().difference({}, (), FRESH))) >= 4


def test_the_lookup_follows_commits() -> None:
    pod = a_workload("c//Pod/ns/a", ips=["10.0.0.1"], node="n1", services=("ns/host",))
    catalog = a_catalog(pod, a_service("ns/host", vips=["10.1.0.1", "10.2.0.0/24"]))
    lookup = catalog.lookup()
    assert lookup.find("net/10.0.0.1") == lookup.on_node("n1") == (pod.name,)
    assert lookup.find("net/10.2.0.0") == ("ns/host", pod.name)
    remove(catalog, pod.name)
    assert lookup.find("net/10.0.0.1") == lookup.on_node("n1") == ()
    assert lookup.find("net/10.1.0.1") == ("ns/host",)
    assert lookup.find("nothing") == ()


def test_a_commit_names_the_tables_it_changed_and_views_the_tables_they_show() -> None:
    catalog = a_catalog(a_workload("c//Pod/ns/a"))
    own = node_authorizations("n1")
    view = catalog.authorizations("n1")
    assert (catalog.changed, view.keys) == ((ADDRESSES,), (GLOBAL_AUTHORIZATIONS, own))
    assert (view.changed_at, view.hides, catalog.addresses().hides) == (0, True, False)
    put(catalog, a_policy("ns/p"), key=own)
    assert (catalog.changed, view.changed_at) == ((own,), 2)
    assert catalog.addresses().changed_at == 1
    assert catalog.legacy_workloads().keys == catalog.addresses().keys == (ADDRESSES,)


def test_a_table_that_was_emptied_is_still_that_table() -> None:
    catalog = a_catalog(a_workload("c//Pod/ns/a"))
    remove(catalog, "c//Pod/ns/a")
    assert (len(catalog.table(ADDRESSES)), catalog.table(ADDRESSES).removed) == (0, 1)


WAYPOINT = Name("ns", "waypoint")
CLUSTER = Resource("c", "1", b"cluster")


def _staged(catalog: Catalog, name: str, resource: Resource | None) -> None:
    catalog.stage(waypoint_resources(Name("ns", name), CLUSTER_TYPE), [("c", resource)])
    catalog.publish()


def test_a_waypoint_sees_its_own_resources_of_one_type() -> None:
    catalog = Catalog()
    view = catalog.waypoint(WAYPOINT, CLUSTER_TYPE)
    assert len(view) == 0
    _staged(catalog, "waypoint", CLUSTER)
    assert view.get("c") == CLUSTER
    assert view.keys == (waypoint_resources(WAYPOINT, CLUSTER_TYPE),)
    assert len(catalog.waypoint(WAYPOINT, LISTENER_TYPE)) == 0
    assert len(catalog.waypoint(Name("ns", "other"), CLUSTER_TYPE)) == 0
    assert len(catalog.waypoint(Name("other", "waypoint"), CLUSTER_TYPE)) == 0


def test_the_pods_of_a_waypoint_share_frames() -> None:
    catalog = Catalog()
    _staged(catalog, "waypoint", CLUSTER)
    first, second = (catalog.waypoint(WAYPOINT, CLUSTER_TYPE) for _ in range(2))
    assert first is second
    assert first.frame(FRESH) is second.frame(FRESH)


def test_the_tables_of_waypoints_that_went_are_forgotten_and_clients_told() -> None:
    catalog = Catalog()
    view = catalog.waypoint(WAYPOINT, CLUSTER_TYPE)
    _staged(catalog, "waypoint", CLUSTER)
    seen = catalog.commit
    _staged(catalog, "waypoint", None)
    assert view.frame(seen).removed == ("c",)
    for number in range(300):
        _staged(catalog, f"w{number}", CLUSTER)
        _staged(catalog, f"w{number}", None)
    assert not view.reaches(seen)
    _staged(catalog, "waypoint", CLUSTER)
    assert view.get("c") == CLUSTER
