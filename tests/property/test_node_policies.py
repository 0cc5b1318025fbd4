"""What a node is sent decides as the whole mesh would, after every change."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.dataflow import Graph
from controlplane.mesh.scopes import build_node_policies
from controlplane.model.names import Name
from controlplane.model.policy import Action, Authorization, Group, Match, Rule, Scope
from controlplane.model.workload import Workload
from tests.support.policy_evaluation import Connection, allows

PORTS = (80, 443)
names = st.builds(Name, st.sampled_from(("a", "b")), st.sampled_from("xyz"))
policies = st.builds(
    lambda name, scope, action, ports: Authorization(
        name=name.name,
        namespace=name.namespace,
        scope=scope,
        action=action,
        groups=tuple(Group((Rule((Match(destination_ports=(port,)),)),)) for port in ports),
    ),
    names,
    st.sampled_from(Scope),
    st.sampled_from(Action),
    st.lists(st.sampled_from(PORTS), max_size=2, unique=True),
)
workloads = st.builds(
    lambda uid, node, namespace, listed: Workload(
        uid=uid, name=uid, namespace=namespace, node=node, authorization_policies=tuple(listed)
    ),
    st.sampled_from("123"),
    st.sampled_from(("one", "two", "")),
    st.sampled_from(("a", "b")),
    st.lists(names, max_size=2, unique=True),
)
edits = st.lists(policies | workloads | names | st.sampled_from("123"), min_size=1, max_size=10)


@pytest.mark.proves("AP-21")
@pytest.mark.refutes("AP-21")
@given(edits)
def test_a_node_decides_with_its_policies_as_with_all(
    history: list[Authorization | Workload | Name | str],
) -> None:
    graph = Graph(run_twice=True)
    running = graph.input("workloads", Workload, key=lambda value: value.uid)
    existing = graph.input("authorizations", Authorization, key=lambda value: value.key)
    needed = build_node_policies(graph, running, existing)
    for edit in history:
        with graph.transaction():
            match edit:
                case Workload():
                    running.put(edit)
                case Authorization():
                    existing.put(edit)
                case Name():
                    existing.remove(edit)
                case _:
                    running.remove(edit)
        everything = dict(existing.items())
        sent = {key for key, _ in needed.items()}
        for (_, workload), port in product(running.items(), PORTS):
            if not workload.node:
                continue
            scoped = [
                policy
                for name, policy in everything.items()
                if policy.scope is Scope.GLOBAL or (workload.node, name) in sent
            ]
            full, narrowed = (
                allows(
                    among,
                    namespace=workload.namespace,
                    listed=workload.authorization_policies,
                    connection=Connection(port=port),
                )
                for among in (everything.values(), scoped)
            )
            assert full is narrowed
        kept = {(value.node, value.namespace) for _, value in running.items()}
        listed = {
            (value.node, name)
            for _, value in running.items()
            for name in value.authorization_policies
        }
        for node, name in sent:
            policy = everything[name]
            assert policy.scope is not Scope.GLOBAL
            by_namespace = policy.scope is Scope.NAMESPACE and (node, name.namespace) in kept
            assert by_namespace or (node, name) in listed, "a node is sent what it does not need"
