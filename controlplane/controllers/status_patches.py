"""Statuses that are written as JSON patches: a decision on a live object in, what came of it out.

A patch tests what was there, so that nothing is written over that was not seen; where somebody was
faster the object is looked at, and decided on, anew.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.cluster.apply import Applied, Lead, Outcome, Target, ask_as_leader, outcome_of
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.refusal import refusal_in

_TRIES: Final = 3
_JSON_PATCH: Final = "application/json-patch+json"
_objects: Final = msgspec.json.Decoder(dict[str, Any])

Decision = Callable[[Mapping[str, Any]], list[dict[str, Any]] | Applied]
"""Decides on a live object: the operations to send, or what came of there being none."""


class StatusPatches:
    """Patches statuses as ``manager``, while ``lead`` lasts."""

    def __init__(self, client: ClusterClient, *, manager: str, lead: Lead) -> None:
        self._client = client
        self._manager = manager
        self._lead = lead

    async def patch(self, target: Target, decide: Decision) -> Mapping[str, Any] | Applied:
        """Return ``target`` as it was written, or what came of there being nothing written.

        ``decide`` is asked each time the object was looked at: others write meanwhile. What it
        answers instead of operations is returned.
        """
        applied = Applied(outcome=Outcome.CONFLICT, message="it changes again and again")
        for _ in range(_TRIES):
            found = await self._ask("GET", target.path)
            if isinstance(found, Applied):
                return found
            operations = decide(found)
            if isinstance(operations, Applied):
                return operations
            written = await self._ask("PATCH", f"{target.path}/status", operations)
            if not isinstance(written, Applied):
                return written
            applied = written
            if not await self._is_stale(target, found, written):
                break
        return applied

    async def _is_stale(self, target: Target, found: Mapping[str, Any], written: Applied) -> bool:
        """Tell whether a patch was refused because the object is no longer the one looked at."""
        if written.outcome is Outcome.CONFLICT:
            return True
        if written.outcome is not Outcome.REFUSED:
            return False
        now = await self._ask("GET", target.path)
        return not isinstance(now, Applied) and _version(now) != _version(found)

    async def _ask(
        self, method: str, path: str, operations: Sequence[Mapping[str, Any]] | None = None
    ) -> Mapping[str, Any] | Applied:
        """Return the object that was answered with, or what came of there being none."""
        answer = await ask_as_leader(
            self._client,
            self._lead,
            method,
            path,
            body=None if operations is None else msgspec.json.encode(operations),
            params=None if operations is None else {"fieldManager": self._manager},
            content_type=_JSON_PATCH,
        )
        if isinstance(answer, Applied):
            return answer
        refusal = refusal_in(answer)
        if refusal is not None:
            message = refusal.message or str(refusal)
            return Applied(outcome=outcome_of(refusal), message=message)
        try:
            return _objects.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return Applied(outcome=Outcome.UNAVAILABLE, message="the answer is no object")


def _version(live: Mapping[str, Any]) -> str:
    return str((live.get("metadata") or {}).get("resourceVersion") or "")
