from dataclasses import replace

from controlplane.encode.policy import encode_authorization
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload
from controlplane.model.policy import Scope
from controlplane.pipeline.publication import publish_to
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    TableKey,
    node_authorizations,
)
from tests.unit.pipeline.test_encoding import POD, POLICY, SERVICE, Mesh


def _published(mesh: Mesh) -> Catalog:
    catalog = Catalog()
    publish_to(catalog, mesh.graph, mesh.encoded, mesh.waypoints)
    return catalog


def _names(catalog: Catalog, key: TableKey) -> list[str]:
    return sorted(resource.name for resource in catalog.table(key).resources())


def test_workloads_and_services_share_the_table_of_addresses() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    mesh.put(POD, SERVICE)
    table = catalog.table(ADDRESSES)
    assert table.get(POD.uid) == encode_workload(POD)
    assert table.get(str(SERVICE.key)) == encode_service(SERVICE)


def test_one_graph_commit_is_one_catalog_commit() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    woken: list[int] = []
    catalog.subscribe(woken.append)
    mesh.put(POD, SERVICE, POLICY, ("node-1", POLICY.key))
    assert woken == [1]
    mesh.put(POD)
    assert woken == [1]


def test_what_was_committed_before_is_published_at_once() -> None:
    mesh = Mesh()
    mesh.put(POD, POLICY)
    catalog = _published(mesh)
    assert catalog.commit == 1
    assert _names(catalog, ADDRESSES) == [POD.uid]
    assert _names(catalog, AUTHORIZATIONS) == ["apps/p"]


def test_removed_and_refused_resources_leave_the_table() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    mesh.put(POD, SERVICE)
    mesh.put(replace(POD, name="\ud800"))
    assert _names(catalog, ADDRESSES) == [str(SERVICE.key)]
    with mesh.graph.transaction():
        mesh.services.remove(SERVICE.key)
        mesh.workloads.remove(POD.uid)
    assert _names(catalog, ADDRESSES) == []


def test_policies_are_in_the_full_table_and_in_the_scope_that_needs_them() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    everywhere = replace(POLICY, name="g", scope=Scope.GLOBAL)
    mesh.put(POLICY, everywhere, ("node-1", POLICY.key))
    assert _names(catalog, AUTHORIZATIONS) == ["apps/g", "apps/p"]
    assert _names(catalog, GLOBAL_AUTHORIZATIONS) == ["apps/g"]
    assert _names(catalog, node_authorizations("node-1")) == ["apps/p"]
    assert _names(catalog, node_authorizations("node-2")) == []


def test_a_policy_moves_between_scopes() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    mesh.put(POLICY, ("node-1", POLICY.key))
    everywhere = replace(POLICY, scope=Scope.GLOBAL)
    mesh.put(everywhere)
    assert _names(catalog, GLOBAL_AUTHORIZATIONS) == ["apps/p"]
    assert _names(catalog, node_authorizations("node-1")) == []
    assert catalog.table(AUTHORIZATIONS).get("apps/p") == encode_authorization(everywhere)
    mesh.put(POLICY)
    assert _names(catalog, GLOBAL_AUTHORIZATIONS) == []
    assert _names(catalog, node_authorizations("node-1")) == ["apps/p"]


def test_a_policy_that_goes_leaves_every_table() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    mesh.put(POLICY, ("node-1", POLICY.key))
    with mesh.graph.transaction():
        mesh.policies.remove(POLICY.key)
    assert _names(catalog, AUTHORIZATIONS) == []
    assert _names(catalog, node_authorizations("node-1")) == []


def test_many_changes_are_all_staged() -> None:
    mesh = Mesh()
    catalog = _published(mesh)
    mesh.put(*(replace(POD, uid=f"Kubernetes//Pod/apps/{number}") for number in range(1300)))
    assert len(catalog.table(ADDRESSES)) == 1300
    assert catalog.commit == 1
