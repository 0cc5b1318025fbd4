"""Which policies each node needs: those of the namespaces and workloads that are on it.

Workloads and authorizations come in; one entry per node and policy goes out, which snapshots turn
into one Authorization scope per node. Global policies are everybody's and not listed here.
docs/protocol/policies.md AP-n.
"""

from collections.abc import Mapping

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.model.names import Name
from controlplane.model.policy import Authorization, Scope
from controlplane.model.workload import Workload

NodePolicy = tuple[str, Name]


def build_node_policies(
    graph: Graph,
    workloads: Collection[str, Workload],
    authorizations: Collection[Name, Authorization],
) -> Collection[NodePolicy, Name]:
    """Declare (node, policy) -> policy, for every policy that is not global.

    Cost: O(1) for a workload that brings no new namespace or policy to its node; a policy whose
    rules change costs nothing.
    """
    scopes = graph.derive("policy scopes", authorizations, _scoped)
    by_namespace = scopes.index("policies of namespaces", _covered_namespace)
    needs = graph.distinct("needs of nodes", workloads.index("workloads by need of node", _needs))

    def policies(fetch: Fetch, need: NodePolicy) -> Mapping[NodePolicy, Name]:
        node, name = need
        if not name.name:
            found = [scoped for scoped, _ in fetch.where(by_namespace, name.namespace)]
        else:
            known = fetch.one(scopes, name)
            found = [name] if known is not None and known[1] is not Scope.GLOBAL else []
        return {(node, policy): policy for policy in found}

    return graph.derive_many("policies of nodes", needs, policies)


def _scoped(_: Fetch, authorization: Authorization) -> tuple[Name, Scope]:
    return authorization.key, authorization.scope


def _covered_namespace(scoped: tuple[Name, Scope]) -> tuple[str, ...]:
    name, scope = scoped
    return (name.namespace,) if scope is Scope.NAMESPACE else ()


def _needs(workload: Workload) -> tuple[NodePolicy, ...]:
    """Return what the workload's node needs for it; a name of "" stands for a whole namespace."""
    if not workload.node:
        return ()
    node = workload.node
    return (
        (node, Name(workload.namespace, "")),
        *((node, policy) for policy in workload.authorization_policies),
    )
