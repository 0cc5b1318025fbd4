"""Objects that come and go: made where they are missing, removed where nobody wants them any more.

For objects that are not applied: one that is made belongs to whoever changes it afterwards
(docs/protocol/leadership.md WR-6 to WR-8).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from controlplane.cluster.apply import Applied, Lead, Outcome, Target, ask_as_leader, outcome_of
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.refusal import refusal_in

_EXISTS: Final = "AlreadyExists"
_OK: Final = 200
_NOT_FOUND: Final = 404


class Existence:
    """Makes and removes, while ``lead`` lasts."""

    def __init__(self, client: ClusterClient, *, manager: str, lead: Lead) -> None:
        self._client = client
        self._manager = manager
        self._lead = lead

    async def make(self, target: Target, document: Mapping[str, Any]) -> Applied:
        """Make ``target`` as ``document``; one that is there already stays as it is."""
        answer = await ask_as_leader(
            self._client,
            self._lead,
            "POST",
            target.path.rpartition("/")[0],
            body=json.dumps(document, sort_keys=True).encode(),
            params={"fieldManager": self._manager},
        )
        if isinstance(answer, Applied):
            return answer
        refusal = refusal_in(answer)
        if refusal is None:
            return Applied(outcome=Outcome.WRITTEN)
        if refusal.reason == _EXISTS:
            return Applied(outcome=Outcome.UNCHANGED)
        return Applied(outcome=outcome_of(refusal), message=refusal.message or str(refusal))

    async def is_there(self, target: Target, uid: str) -> bool:
        """Return whether ``target`` is there with ``uid`` and not being deleted; True in doubt."""
        answer = await ask_as_leader(self._client, self._lead, "GET", target.path)
        if isinstance(answer, Applied) or answer.status != _OK:
            return isinstance(answer, Applied) or answer.status != _NOT_FOUND
        try:
            metadata = json.loads(answer.body)["metadata"]
            return metadata["uid"] == uid and not metadata.get("deletionTimestamp")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return True

    async def remove(self, target: Target, live: Mapping[str, Any]) -> Applied:
        """Remove ``target`` if it is still the ``live`` one that was looked at, unchanged."""
        metadata = live["metadata"]
        preconditions = {name: metadata[name] for name in ("uid", "resourceVersion")}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": "Background",
        }
        answer = await ask_as_leader(
            self._client, self._lead, "DELETE", target.path, body=json.dumps(options).encode()
        )
        if isinstance(answer, Applied):
            return answer
        refusal = refusal_in(answer)
        if refusal is None:
            return Applied(outcome=Outcome.WRITTEN)
        return Applied(outcome=outcome_of(refusal), message=refusal.message or str(refusal))
