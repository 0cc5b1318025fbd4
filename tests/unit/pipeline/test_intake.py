import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from controlplane.dataflow import Batcher
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_kinds import KINDS
from controlplane.manifests.reading import MESH_CONFIG, Identity, identity_of, read_documents
from controlplane.mesh.inputs import MESH
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import FoundProblems, Intake, input_of
from controlplane.sources.source import Origin, Sink
from tests.support.builders import a_pod, a_service, some_metadata
from tests.support.dataflow_time import VirtualClock, let_run

HERE = Origin(file="mesh/a.yaml", line=7)
PROBLEM = Problem(
    severity=Severity.WARNING,
    code="service.odd",
    message="odd",
    object=ObjectReference("Service", "default", "web"),
)


class LeftAside(Manifest, frozen=True, kw_only=True):
    """A kind that no rule reads."""


@dataclass
class Rig:
    pipeline: Pipeline
    intake: Intake
    clock: VirtualClock

    async def settle(self) -> None:
        await self.clock.advance(1.0)


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    pipeline = build_pipeline(MeshSettings())
    clock = VirtualClock()
    batcher = Batcher(pipeline.graph, clock)
    intake = Intake(pipeline.inputs, pipeline.found_problems, batcher)
    task = asyncio.create_task(batcher.run())
    try:
        yield Rig(pipeline, intake, clock)
    finally:
        task.cancel()
        await let_run()


def test_every_kind_that_is_read_has_an_input_that_takes_it() -> None:
    inputs = build_pipeline(MeshSettings()).inputs
    kinds = [kind for _, kind in KINDS] + [MESH_CONFIG.kind, "ConfigMap"]
    places = {kind: input_of(inputs, Identity(kind, Name("", "x"))) for kind in kinds}
    assert [kind for kind, place in places.items() if place is None] == []
    filled = {place[0].name for place in places.values() if place}
    # Key sets are fetched, not written.
    assert filled == {each.name for each in inputs.all()} - {
        inputs.key_sets.name,
        inputs.served_before.name,
    }


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: v1, kind: Pod, metadata: {name: a}}",
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {}}}",
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}}",
    ],
)
def test_the_key_of_an_object_is_the_key_its_input_uses(text: str) -> None:
    inputs = build_pipeline(MeshSettings()).inputs
    (document,) = read_documents(text).documents
    place = input_of(inputs, identity_of(document.manifest))
    assert place is not None
    assert place[0].key_of(document.manifest) == place[1]


async def test_objects_arrive_and_go() -> None:
    async with running() as rig:
        sink: Sink = rig.intake
        sink.put(a_service("web"), HERE)
        sink.put(MeshConfig(), HERE)
        sink.synced()
        await rig.settle()
        assert rig.pipeline.graph.ready
        assert rig.pipeline.inputs.services.get(Name("default", "web")) == a_service("web")
        assert rig.pipeline.inputs.mesh_config.get(MESH) == MeshConfig()
        sink.remove("Service", Name("default", "web"))
        sink.remove(MESH_CONFIG.kind, MESH_CONFIG.key)
        await rig.settle()
        assert len(rig.pipeline.inputs.services) == 0
        assert len(rig.pipeline.inputs.mesh_config) == 0


async def test_the_graph_is_not_ready_before_the_source_has_synced() -> None:
    async with running() as rig:
        rig.intake.put(a_pod("a"), HERE)
        await rig.settle()
        assert not rig.pipeline.graph.ready


async def test_a_kind_that_no_rule_reads_is_left_aside() -> None:
    async with running() as rig:
        rig.intake.put(LeftAside(metadata=some_metadata("a")), HERE)
        rig.intake.remove("LeftAside", Name("default", "a"))
        await rig.settle()
        assert [each.name for each in rig.pipeline.inputs.all() if len(each)] == []


async def test_problems_replace_what_was_said_about_the_file() -> None:
    async with running() as rig:
        rig.intake.problems(HERE, (PROBLEM,))
        await rig.settle()
        found = rig.pipeline.found_problems
        assert found.get(HERE.file) == FoundProblems(file=HERE.file, problems=(PROBLEM,))
        rig.intake.problems(HERE, ())
        await rig.settle()
        assert len(found) == 0


async def test_a_problem_is_located_where_its_object_is_written() -> None:
    async with running() as rig:
        rig.intake.put(a_service("web"), HERE)
        assert rig.intake.located(PROBLEM) == replace(PROBLEM, file=HERE.file, line=HERE.line)
        elsewhere = replace(PROBLEM, file="other.yaml")
        assert rig.intake.located(elsewhere) == elsewhere
        assert rig.intake.located(replace(PROBLEM, object=None)).file is None
        rig.intake.remove("Service", Name("default", "web"))
        assert rig.intake.located(PROBLEM).file is None


def test_templates_and_routes_of_one_name_are_apart() -> None:
    inputs = build_pipeline(MeshSettings()).inputs
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "HTTPRoute", "GRPCRoute")
    places = [input_of(inputs, Identity(kind, Name("apps", "a"))) for kind in kinds]
    assert len({place[1] for place in places if place}) == len(kinds)
    types = {place[0].name for place in places if place}
    assert types == {inputs.workload_templates.name, inputs.routes.name}


async def test_who_asked_hears_of_every_object_that_some_rule_reads() -> None:
    heard: list[tuple[ObjectReference, bool, datetime | None]] = []

    class Listener:
        def arrived(
            self, reference: ObjectReference, *, is_removal: bool, happened_at: datetime | None
        ) -> None:
            heard.append((reference, is_removal, happened_at))

    pipeline = build_pipeline(MeshSettings())
    batcher = Batcher(pipeline.graph, VirtualClock())
    intake = Intake(pipeline.inputs, pipeline.found_problems, batcher, Listener())
    intake.put(a_service("web"), HERE)
    intake.put(a_service("api"), HERE, written_at=1_700_000_000.0)
    intake.put(LeftAside(metadata=some_metadata("left-aside")), HERE)
    intake.remove("Pod", Name("default", "gone"))
    intake.remove("Unknown", Name("default", "gone"))
    intake.problems(HERE, (PROBLEM,))
    assert heard == [
        (ObjectReference("Service", "default", "web"), False, None),
        (
            ObjectReference("Service", "default", "api"),
            False,
            datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        ),
        (ObjectReference("Pod", "default", "gone"), True, None),
    ]
