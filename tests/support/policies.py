"""A graph of policies alone: manifests in, authorizations, lists and conditions out."""

from typing import Any

from controlplane.dataflow import Collection, Fetch, Graph, Input
from controlplane.manifests.core import Pod
from controlplane.mesh.inputs import Inputs, build_inputs
from controlplane.mesh.namespaces import build_membership
from controlplane.mesh.networks import build_networks
from controlplane.mesh.policies import build_policies, policies_of, waypoint_policies_of
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.visibility import build_visibilities
from controlplane.mesh.waypoints import build_waypoints
from controlplane.model.names import Name, ObjectReference
from controlplane.model.policy import Authorization
from controlplane.model.problem import Condition, Problem


class PolicyRig:
    """Policies on a graph whose rules run twice; pods stand for sets of labels."""

    def __init__(self, *manifests: Any, **settings: Any) -> None:
        self.graph = Graph(run_twice=True)
        self.inputs: Inputs = build_inputs(self.graph)
        source = self.inputs.manifests()
        chosen = MeshSettings(**settings)
        membership = build_membership(self.graph, source, chosen)
        networks = build_networks(self.graph, source, membership, chosen)
        waypoints = build_waypoints(self.graph, membership, source, networks)
        self.policies = build_policies(
            self.graph,
            membership,
            waypoints,
            build_visibilities(self.graph, source, membership),
            chosen,
            source,
        )

        def lists(fetch: Fetch, pod: Pod) -> tuple[Name, ...]:
            namespace, labels = pod.metadata.namespace, pod.metadata.labels
            return policies_of(fetch, self.policies, namespace, labels)

        def admissions(fetch: Fetch, pod: Pod) -> tuple[Name, ...]:
            return waypoint_policies_of(fetch, self.policies, [Name("default", "waypoint")])

        self.lists: Collection[Name, tuple[Name, ...]] = self.graph.derive(
            "lists", self.inputs.pods, lists
        )
        self.admissions = self.graph.derive("admissions", self.inputs.pods, admissions)
        self.put(*manifests)

    def put(self, *manifests: Any) -> None:
        """Put manifests in one commit."""
        with self.graph.transaction():
            for manifest in manifests:
                self._input(manifest).put(manifest)

    def remove(self, *manifests: Any) -> None:
        """Remove the objects with the names of ``manifests`` in one commit."""
        with self.graph.transaction():
            for manifest in manifests:
                self._input(manifest).remove(manifest.key)

    def listed(self, pod: str = "pod", namespace: str = "default") -> list[str]:
        """Return what the pod lists, as resource names."""
        return [str(name) for name in self.lists.get(Name(namespace, pod)) or ()]

    def sent(self) -> list[str]:
        """Return the resource names of every authorization, sorted."""
        return sorted(str(name) for name, _ in self.policies.authorizations.items())

    def authorization(self, name: str = "policy", namespace: str = "default") -> Authorization:
        """Return one authorization, which must be there."""
        found = self.policies.authorizations.get(Name(namespace, name))
        assert found is not None
        return found

    def condition(self, kind: str, name: str = "policy", namespace: str = "default") -> Condition:
        """Return one condition of one AuthorizationPolicy, which must be there."""
        reference = ObjectReference("AuthorizationPolicy", namespace, name)
        found = self.policies.conditions.get((reference, kind))
        assert found is not None
        return found

    def problems(self) -> list[tuple[str, str | None]]:
        """Return code and field of every problem, sorted."""
        return sorted((problem.code, problem.field) for problem in self.all_problems())

    def all_problems(self) -> list[Problem]:
        """Return every problem."""
        return [problem for _, problem in self.policies.problems.items()]

    def _input(self, manifest: Any) -> Input[Any, Any]:
        for source in self.inputs.all():
            if source._type is type(manifest):
                return source
        raise AssertionError(f"no input takes {manifest!r}")
