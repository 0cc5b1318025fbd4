"""What routes and their like are told of their parents, told in the cluster.

Collections of parents come in, ``status.parents[]`` of routes and ``status.ancestors[]`` of
policies go out. Only the leader writes, and only differences. Everything is gone over when a lead
is gained, by lists; afterwards a change costs one look and at most one write per object
(docs/protocol/route-status.md RT-n).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from controlplane.cluster.apply import Applied, Outcome, Target
from controlplane.controllers.errors import UnlistedError
from controlplane.controllers.listing import pages_of, target_at, whole_kind
from controlplane.controllers.route_parents import (
    LISTS,
    Settled,
    has_ours,
    is_settled,
    patch_of,
    settle,
)
from controlplane.controllers.status_patches import StatusPatches
from controlplane.controllers.work_in_rounds import WorkInRounds, WritingTerms
from controlplane.dataflow import Change, Collection
from controlplane.mesh.told_conditions import ROUTE_STATUS_MANAGER
from controlplane.model.names import ObjectReference
from controlplane.model.route_parent import ParentReference, RouteParent

_objects: Final = msgspec.json.Decoder(dict[str, Any])


class RouteStatuses(WorkInRounds[ObjectReference]):
    """Keeps what routes are told as ``parents`` wants it.

    Each object is told of in one of ``parents``. A kind as a whole stands among the objects
    without a name.
    """

    def __init__(
        self, terms: WritingTerms, *, parents: Iterable[Collection[Any, RouteParent]]
    ) -> None:
        super().__init__(terms, name="route-statuses")
        self._patches = StatusPatches(terms.client, manager=ROUTE_STATUS_MANAGER, lead=terms.lead)
        self._wanted: dict[ObjectReference, dict[ParentReference, RouteParent]] = {}
        for told in parents:
            told.subscribe(self._changed)

    def _everything(self) -> Iterable[ObjectReference]:
        return (*map(whole_kind, sorted(LISTS)), *self.troubles)

    def _changed(self, changes: Sequence[Change[Any, RouteParent]]) -> None:
        routes = dict.fromkeys(filter(None, map(self._noted, changes)))
        if self._rounds.is_begun:
            self._queue.add(*routes)

    def _noted(self, change: Change[Any, RouteParent]) -> ObjectReference | None:
        """Note what is wanted now; return the route that it is about."""
        about = change.new or change.old
        if about is None:
            return None
        held = self._wanted.setdefault(about.route, {})
        if change.new is not None:
            held[about.parent] = change.new
        else:
            held.pop(about.parent, None)
            if not held:
                del self._wanted[about.route]
        return about.route

    async def _see_to(self, key: ObjectReference) -> Applied:
        path = self._terms.paths(key.kind)
        if path is None or key.kind not in LISTS:
            return Applied(outcome=Outcome.GONE)
        if key.name:
            return await self._tell(key, target_at(path, key.namespace, key.name))
        return await self._go_over(key.kind, path)

    async def _go_over(self, kind: str, path: str) -> Applied:
        """Find the objects of a kind that are told something else than is wanted."""
        where = LISTS[kind]
        try:
            async for page in pages_of(self._terms.client, self._terms.lead, path, _objects):
                for live in page:
                    metadata = live.get("metadata") or {}
                    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
                    reference = ObjectReference(kind, namespace, name)
                    if name and (reference in self._wanted or has_ours(live, where)):
                        found = self._decided(reference, live)
                        if isinstance(found, list):
                            self._queue.add(reference)
                    await asyncio.sleep(0)
        except UnlistedError as error:
            return error.applied
        return Applied(outcome=Outcome.UNCHANGED)

    async def _tell(self, reference: ObjectReference, target: Target) -> Applied:
        # Decided anew at each look: the mesh may have changed since, and others' entries.
        written = await self._patches.patch(target, partial(self._decided, reference))
        if isinstance(written, Applied):
            return written
        left_out = self._settled(reference, written).left_out
        return _short_of(left_out) if left_out else Applied(outcome=Outcome.WRITTEN)

    def _decided(
        self, reference: ObjectReference, live: Mapping[str, Any]
    ) -> list[dict[str, Any]] | Applied:
        """Return the patch to send, or what came of there being none."""
        where = LISTS[reference.kind]
        generation = (live.get("metadata") or {}).get("generation") or 0
        wanted = self._wanted.get(reference, {}).values()
        if any(0 < each.observed_generation < generation for each in wanted):
            # The mesh is about to know of this one, and to say something about it.
            return Applied(outcome=Outcome.UNCHANGED)
        settled = self._settled(reference, live)
        if not is_settled(live, where, settled):
            return patch_of(live, where, settled)
        if settled.left_out:
            return _short_of(settled.left_out)
        return Applied(outcome=Outcome.UNCHANGED)

    def _settled(self, reference: ObjectReference, live: Mapping[str, Any]) -> Settled:
        wanted = self._wanted.get(reference, {})
        return settle(live, LISTS[reference.kind], wanted.values(), self._terms.clock.now())


def _short_of(left_out: int) -> Applied:
    message = f"its status has no room for {left_out} more of its parents"
    return Applied(outcome=Outcome.EXHAUSTED, message=message)
