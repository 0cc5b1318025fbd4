"""What users are told, told in the cluster: wanted conditions in, statuses of objects out.

Only the leader writes, and only differences. Everything is gone over when a lead is gained, by
lists; afterwards a change costs one look and at most one write per field manager
(docs/protocol/statuses.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.cluster.apply import Applied, Applier, Outcome, Target
from controlplane.controllers.errors import UnlistedError
from controlplane.controllers.listing import pages_of, target_at, whole_kind
from controlplane.controllers.status_conditions import (
    MANAGERS,
    LiveObject,
    has_news,
    is_different,
    status_to_apply,
)
from controlplane.controllers.work_in_rounds import WorkInRounds, WritingTerms
from controlplane.dataflow import Change, Collection
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition

ConditionKey = tuple[ObjectReference, str]

_objects: Final = msgspec.json.Decoder(LiveObject)


class StatusConditions(WorkInRounds[ObjectReference]):
    """Keeps conditions as ``conditions`` wants them.

    A kind as a whole stands among the objects without a name.
    """

    def __init__(
        self, terms: WritingTerms, *, conditions: Collection[ConditionKey, Condition]
    ) -> None:
        super().__init__(terms, name="status-conditions")
        self._conditions = conditions
        self._managers = {kind: dict(types) for kind, types in MANAGERS.items()}
        self._appliers: dict[str, Applier] = {}
        conditions.subscribe(self._changed)

    def _everything(self) -> Iterable[ObjectReference]:
        return (*map(whole_kind, sorted(self._managers)), *self.troubles)

    def _changed(self, changes: Sequence[Change[ConditionKey, Condition]]) -> None:
        for (reference, kind), _, wanted in changes:
            if wanted is not None:
                self._managers.setdefault(reference.kind, {})[kind] = wanted.manager
        if self._rounds.is_begun:
            self._queue.add(*dict.fromkeys(change.key[0] for change in changes))

    async def _see_to(self, key: ObjectReference) -> Applied:
        path = self._terms.paths(key.kind)
        if path is None:
            return Applied(outcome=Outcome.GONE)
        if key.name:
            return await self._tell(key, target_at(path, key.namespace, key.name))
        return await self._go_over(key.kind, path)

    async def _go_over(self, kind: str, path: str) -> Applied:
        """Find the objects of a kind that are told something else than is wanted."""
        types = self._managers[kind]
        try:
            async for page in pages_of(self._terms.client, self._terms.lead, path, _objects):
                for live in page:
                    place = live.metadata
                    reference = ObjectReference(kind, place.namespace, place.name)
                    if is_different(live, self._wanted(reference), types):
                        self._queue.add(reference)
        except UnlistedError as error:
            return error.applied
        return Applied(outcome=Outcome.UNCHANGED)

    async def _tell(self, reference: ObjectReference, target: Target) -> Applied:
        wanted = self._wanted(reference)
        types_of: dict[str, list[str]] = {}
        for kind, manager in self._managers[reference.kind].items():
            types_of.setdefault(manager, []).append(kind)
        applied = Applied(outcome=Outcome.GONE)
        # Who only removes goes first: where a kind's list of conditions is one whole, removing
        # empties it, and what another manager of ours has to say must come after that.
        for manager in sorted(
            types_of, key=lambda each: not wanted.keys().isdisjoint(types_of[each])
        ):
            live = applied.live
            if live is not None and not has_news(live, wanted, types_of[manager], manager):
                continue
            applied = await self._apply(target, reference, manager, types_of[manager])
            if not applied.is_done:
                break
        if applied.outcome is Outcome.GONE:
            for applier in self._appliers.values():
                applier.forget(target)
        return applied

    async def _apply(
        self, target: Target, reference: ObjectReference, manager: str, types: Sequence[str]
    ) -> Applied:
        if manager not in self._appliers:
            self._appliers[manager] = Applier(
                self._terms.client, manager=manager, lead=self._terms.lead
            )

        def wish(live: Mapping[str, Any] | None) -> Mapping[str, Any] | Applied:
            # Asked for again each time: the mesh may have changed since.
            wanted = self._wanted(reference)
            if live is None or not has_news(live, wanted, types, manager):
                return Applied(outcome=Outcome.UNCHANGED, live=live)
            ours = [wanted[kind] for kind in types if kind in wanted]
            return status_to_apply(target, reference.kind, live, ours, self._terms.clock.now())

        return await self._appliers[manager].apply(
            target, wish, subresource="status", is_forced=True
        )

    def _wanted(self, reference: ObjectReference) -> dict[str, Condition]:
        found = {
            kind: self._conditions.get((reference, kind))
            for kind in self._managers.get(reference.kind, ())
        }
        return {kind: condition for kind, condition in found.items() if condition is not None}
