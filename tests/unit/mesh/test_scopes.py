from typing import Any

import pytest

from controlplane.dataflow import Graph
from controlplane.mesh.scopes import build_node_policies
from controlplane.model.names import Name
from controlplane.model.policy import Action, Authorization, Group, Scope
from controlplane.model.workload import Workload


class Rig:
    def __init__(self) -> None:
        self.graph = Graph(run_twice=True)
        self.workloads = self.graph.input("workloads", Workload, key=lambda value: value.uid)
        self.authorizations = self.graph.input(
            "authorizations", Authorization, key=lambda value: value.key
        )
        self.policies = build_node_policies(self.graph, self.workloads, self.authorizations)

    def put(self, *values: Any) -> None:
        with self.graph.transaction():
            for value in values:
                is_workload = isinstance(value, Workload)
                (self.workloads if is_workload else self.authorizations).put(value)

    def of(self, node: str) -> list[str]:
        found = self.policies.items()
        assert all(key[1] == value for key, value in found)
        return sorted(str(name) for (place, name), _ in found if place == node)


def _workload(uid: str, node: str, namespace: str = "default", *listed: str) -> Workload:
    return Workload(
        uid=uid,
        name=uid,
        namespace=namespace,
        node=node,
        authorization_policies=tuple(Name(namespace, name) for name in listed),
    )


def _policy(name: str, scope: Scope, namespace: str = "default", **rest: Any) -> Authorization:
    return Authorization(name=name, namespace=namespace, scope=scope, action=Action.DENY, **rest)


@pytest.mark.proves("AP-21")
@pytest.mark.refutes("AP-21")
def test_a_node_needs_the_policies_of_its_namespaces_and_workloads() -> None:
    rig = Rig()
    rig.put(
        _policy("global", Scope.GLOBAL, "istio-system"),
        _policy("namespace", Scope.NAMESPACE),
        _policy("away", Scope.NAMESPACE, "elsewhere"),
        _policy("listed", Scope.WORKLOAD_SELECTOR),
        _policy("unlisted", Scope.WORKLOAD_SELECTOR),
        _workload("a", "one", "default", "listed", "missing"),
        _workload("b", "two"),
        _workload("c", "three", "elsewhere"),
        _workload("d", ""),
    )
    assert rig.of("one") == ["default/listed", "default/namespace"]
    assert rig.of("two") == ["default/namespace"]
    assert rig.of("three") == ["elsewhere/away"]
    assert rig.of("") == []
    rig.put(_policy("missing", Scope.WORKLOAD_SELECTOR))
    assert rig.of("one") == ["default/listed", "default/missing", "default/namespace"]
    with rig.graph.transaction():
        rig.workloads.remove("a")
    assert rig.of("one") == []
    rig.put(_workload("b", "two", "elsewhere"))
    assert rig.of("two") == ["elsewhere/away"]


def test_only_what_a_node_gains_or_loses_is_computed() -> None:
    rig = Rig()
    rig.put(
        _policy("namespace", Scope.NAMESPACE),
        _policy("listed", Scope.WORKLOAD_SELECTOR),
        *(_workload(f"w{n}", f"n{n % 10}", "default", "listed") for n in range(100)),
    )
    before = rig.graph.rule_calls
    rig.put(_workload("w1", "n1", "default", "listed"), _workload("new", "n1", "default", "listed"))
    assert rig.graph.rule_calls == before
    rig.put(_policy("namespace", Scope.NAMESPACE, groups=(Group(),)))
    assert rig.graph.rule_calls - before == 1
    changes: list[int] = []
    rig.policies.subscribe(lambda found: changes.append(len(found)))
    changes.clear()
    rig.put(_workload("new", "fresh", "default", "listed"))
    assert changes == [2]
