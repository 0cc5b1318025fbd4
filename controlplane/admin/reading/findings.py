"""Findings: what is wrong with the configuration, and the conditions users are told."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from controlplane.admin.queries import ConditionQuery, ProblemQuery
from controlplane.admin.reading.ground import Ground, contains, page_of, told, visible_object
from controlplane.admin.reading.listing import Listing
from controlplane.admin.values.common import Page, Reference, Source
from controlplane.admin.values.mesh import ConditionValue, ProblemValue
from controlplane.admin.viewer import Viewer
from controlplane.insight.explanations import explanation_of
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition, Problem, Severity

if TYPE_CHECKING:
    from controlplane.mesh.problems import ProblemKey

_WORST_FIRST = (Severity.ERROR, Severity.WARNING, Severity.INFO)


class Findings:
    """Problems of texts and of objects, and conditions."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        pipeline = ground.pipeline
        self._texts = pipeline.found_problems
        self._problems = pipeline.problems
        self.problem_listing: Listing[ProblemKey, Problem] = Listing(
            pipeline.problems, lambda key, _: (_namespace(key.object), str(key.object))
        )
        self.condition_listing: Listing[tuple[ObjectReference, str], Condition] = Listing(
            pipeline.world.told, lambda key, _: (key[0].namespace, str(key[0]))
        )

    async def problems(self, viewer: Viewer, query: ProblemQuery) -> Page[ProblemValue]:
        """Return problems: on the first page those of texts before those of objects.

        Problems of texts are few; they are all on the first page, beside ``limit`` others.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        commit = self._ground.catalog.commit
        namespace = viewer.narrowed(query.namespace)
        texts = [] if query.after else [each for each in self._of_texts(viewer) if _is(query, each)]
        found = await self.problem_listing.page(
            after=query.after,
            limit=query.limit,
            namespace=namespace,
            keep=lambda _, problem: _is(query, problem),
        )
        problems = (*texts, *(problem for _, problem in found.items))
        return page_of(
            await told(self._problem(problem) for problem in problems),
            next_cursor=found.next,
            total=None,
            commit=commit,
        )

    def counts(self, viewer: Viewer) -> dict[str, int]:
        """Return how many problems there are of each severity. Cost: looks at each."""
        counts = {severity.value: 0 for severity in _WORST_FIRST}
        for problem in self._of_texts(viewer):
            counts[problem.severity.value] += 1
        for key, problem in self._problems.items():
            if visible_object(viewer, key.object):
                counts[problem.severity.value] += 1
        return counts

    async def conditions(self, viewer: Viewer, query: ConditionQuery) -> Page[ConditionValue]:
        """Return conditions, by namespace, kind, name and type.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        return await self._ground.page(
            self.condition_listing,
            viewer,
            query,
            keep=_kept(query),
            values=lambda found: told(map(self._ground.condition, found)),
        )

    def _of_texts(self, viewer: Viewer) -> list[Problem]:
        return [
            problem
            for _, found in sorted(self._texts.items(), key=lambda item: item[0])
            for problem in found.problems
            if visible_object(viewer, problem.object)
        ]

    def _problem(self, problem: Problem) -> ProblemValue:
        source = self._ground.source(problem.object)
        if problem.file is not None:
            source = Source(
                object=None if problem.object is None else Reference.of(problem.object),
                file=problem.file,
                line=problem.line,
            )
        explanation = explanation_of(problem.code)
        return ProblemValue(
            severity=problem.severity.value,
            code=problem.code,
            short=explanation.short,
            message=problem.message,
            advice=explanation.advice,
            field=problem.field or "",
            source=source,
        )


def _namespace(reference: ObjectReference) -> str:
    return reference.name if reference.kind == "Namespace" else reference.namespace


def _is(query: ProblemQuery, problem: Problem) -> bool:
    reference = problem.object
    if query.namespace and (reference is None or _namespace(reference) != query.namespace):
        return False
    return (
        (not query.severity or problem.severity.value == query.severity)
        and (not query.code or problem.code == query.code)
        and (not query.kind or (reference is not None and reference.kind == query.kind))
        and contains(query.name.lower(), "" if reference is None else reference.name)
    )


def _kept(
    query: ConditionQuery,
) -> Callable[[tuple[ObjectReference, str], Condition], bool] | None:
    if not (query.name or query.kind or query.type) and query.status is None:
        return None
    name = query.name.lower()

    def keep(key: tuple[ObjectReference, str], condition: Condition) -> bool:
        return (
            (not query.kind or key[0].kind == query.kind)
            and (not query.type or condition.type == query.type)
            and (query.status is None or condition.status == query.status)
            and contains(name, key[0].name)
        )

    return keep
