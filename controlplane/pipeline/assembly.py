"""The pipeline assembled: inputs at one end, encoded resources at the other, rules in between."""

from dataclasses import dataclass

from controlplane.dataflow import Collection, Graph, Input
from controlplane.mesh.inputs import Inputs, build_inputs
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.world import World, build_world
from controlplane.model.problem import Problem
from controlplane.pipeline.encoding import Encoded, build_encoded
from controlplane.pipeline.intake import FoundProblems
from controlplane.pipeline.publication import publish_residents_to, publish_to
from controlplane.pipeline.waypoint_encoding import EncodedWaypoints, build_encoded_waypoints
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.residents import Residents


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The whole graph.

    ``found_problems`` is what is wrong with the text of manifests, by file; ``problems`` is what
    the rules and the encoders find wrong with objects.
    """

    graph: Graph
    inputs: Inputs
    found_problems: Input[str, FoundProblems]
    world: World
    encoded: Encoded
    waypoints: EncodedWaypoints
    problems: Collection[ProblemKey, Problem]

    def publish_to(self, catalog: Catalog) -> None:
        """Keep ``catalog`` equal to what is encoded from now on."""
        publish_to(catalog, self.graph, self.encoded, self.waypoints)

    def publish_residents_to(self, residents: Residents) -> None:
        """Keep ``residents`` equal to the pods of the mesh from now on."""
        publish_residents_to(residents, self.graph, self.world.residents)


def build_pipeline(settings: MeshSettings, *, shuffle: int | None = None) -> Pipeline:
    """Return an empty pipeline; ``shuffle`` seeds whatever order is not promised (tests).

    Raises ValueError when a range in ``settings`` is not a CIDR.
    """
    graph = Graph(shuffle=shuffle)
    inputs = build_inputs(graph)
    found = graph.input("found problems", FoundProblems, key=lambda value: value.file)
    world = build_world(graph, inputs, settings)
    encoded = build_encoded(graph, world)
    waypoints = build_encoded_waypoints(graph, world)
    return Pipeline(
        graph=graph,
        inputs=inputs,
        found_problems=found,
        world=world,
        encoded=encoded,
        waypoints=waypoints,
        problems=graph.union("all problems", world.problems, encoded.problems, waypoints.problems),
    )
