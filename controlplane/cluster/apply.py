"""Objects and conditions the way they should be: fields we want in, one server-side apply out.

One ``Applier`` per field manager. It writes differences only, never beyond the lead it acts under,
and answers with an outcome: what goes wrong with one object is shown and tried again by whoever
asked, and stops nobody else (docs/protocol/leadership.md WR-1 to WR-8).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Protocol

import structlog

from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.cluster.ownership import is_applied, values_of
from controlplane.cluster.refusal import Refusal, refusal_in

_log = structlog.get_logger()
_APPLY: Final = "application/apply-patch+yaml"
_PATIENCE: Final = 10.0
_SHORTEST: Final = 0.5
_TRIES: Final = 3
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One object of the API: ``api_version`` such as ``apps/v1``, ``plural`` as in its path."""

    api_version: str
    plural: str
    name: str
    namespace: str = ""

    @property
    def path(self) -> str:
        """Return its path on the API server."""
        root = "/apis" if "/" in self.api_version else "/api"
        namespace = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}/{self.api_version}{namespace}/{self.plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.plural} " + "/".join(filter(None, (self.namespace, self.name)))


class Outcome(StrEnum):
    """What came of wanting an object to be a certain way."""

    UNCHANGED = "unchanged"
    """It is that way already; nothing was written."""
    WRITTEN = "written"
    CONFLICT = "conflict"
    """Somebody else keeps one of the fields, or the object has changed again and again."""
    FORBIDDEN = "forbidden"
    GONE = "gone"
    """The object (of a subresource) or its namespace is not there, or is being deleted."""
    REFUSED = "refused"
    """The API server or a webhook of its finds it wrong."""
    EXHAUSTED = "exhausted"
    """What it would have to be given is used up."""
    UNAVAILABLE = "unavailable"
    """It could not be found out, or not be written now."""
    NOT_LEADING = "not-leading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """``live`` is the object as the API server has it now, None where that is not known."""

    outcome: Outcome
    live: Mapping[str, Any] | None = field(default=None, repr=False)
    message: str = ""

    @property
    def is_done(self) -> bool:
        """Return whether the object is as it was wanted."""
        return self.outcome in {Outcome.UNCHANGED, Outcome.WRITTEN}


Wish = Callable[[Mapping[str, Any] | None], Mapping[str, Any] | Applied]
"""Decides on what there is (None: nothing): what to apply, or what came of leaving it alone."""


class Lead(Protocol):
    """A lead that ends; ``LeaseLeadership`` is one."""

    @property
    def seconds_left(self) -> float:
        """Return for how long it surely lasts; 0.0 when there is none."""
        ...


class Applier:
    """Applies as ``manager``, while ``lead`` lasts."""

    def __init__(self, client: ClusterClient, *, manager: str, lead: Lead) -> None:
        self._client = client
        self._manager = manager
        self._lead = lead
        # By target and subresource: what the API server took last, the revision that came of it
        # and what it made of our values. It writes them its own way (1000m as 1): no difference to
        # write again forever, also when others change the rest of the object.
        self._taken: dict[tuple[Target, str], tuple[bytes, str, bytes]] = {}
        self._forbidden: set[tuple[str, str]] = set()

    @property
    def forbidden(self) -> frozenset[tuple[str, str]]:
        """Return API version and plural (with a subresource) of what we may not write."""
        return frozenset(self._forbidden)

    async def apply(
        self,
        target: Target,
        wanted: Mapping[str, Any] | Wish,
        *,
        subresource: str = "",
        is_forced: bool = False,
    ) -> Applied:
        """Make ``target`` have the fields of ``wanted``, and none that we set before besides.

        ``wanted`` is a whole object as JSON with only the fields that are ours, or decides on one
        each time the object was looked at; a resource version in it makes a look that is stale by
        now a conflict. Without a ``subresource`` an object that is not there is made.
        ``is_forced`` takes fields over that somebody else has set; without it they are a conflict.
        """
        applied = Applied(outcome=Outcome.CONFLICT)
        for _ in range(_TRIES):
            applied, is_stale = await self._tried(target, wanted, subresource, is_forced=is_forced)
            if not is_stale:
                break
        return applied

    def forget(self, target: Target) -> None:
        """Forget what was written to an object that is gone."""
        for taken in [each for each in self._taken if each[0] == target]:
            del self._taken[taken]

    def is_applied(
        self,
        target: Target,
        live: Mapping[str, Any],
        wanted: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> bool:
        """Tell whether ``live``, as the API server has it, is ``wanted`` already."""
        if is_applied(live, wanted, manager=self._manager, subresource=subresource):
            return True
        digest, revision, values = self._taken.get((target, subresource), (b"", "", b""))
        return digest == _digest(wanted) and (
            revision == _revision(live) or values == self._made_of(live, subresource)
        )

    def _made_of(self, live: Mapping[str, Any], subresource: str) -> bytes:
        values = values_of(live, manager=self._manager, subresource=subresource)
        return sha256(json.dumps(values, sort_keys=True).encode()).digest()

    async def _tried(
        self, target: Target, wanted: Mapping[str, Any] | Wish, subresource: str, *, is_forced: bool
    ) -> tuple[Applied, bool]:
        """Return what came of one look and one write, and whether the look was stale."""
        found = await ask_as_leader(self._client, self._lead, "GET", target.path)
        if isinstance(found, Applied):
            return found, False
        refusal = refusal_in(found)
        if refusal is not None and (refusal.status != _NOT_FOUND or subresource):
            return self._refused(target, subresource, refusal), False
        live = _object_in(found)
        asked = wanted(live) if callable(wanted) else wanted
        if not isinstance(asked, Applied) and self._holds(target, live, asked, subresource):
            asked = Applied(outcome=Outcome.UNCHANGED, live=live)
        if isinstance(asked, Applied):
            return asked, False
        written = await ask_as_leader(
            self._client,
            self._lead,
            "PATCH",
            _path(target, subresource),
            body=json.dumps(asked, sort_keys=True).encode(),
            params={"fieldManager": self._manager, "force": "true" if is_forced else "false"},
            content_type=_APPLY,
        )
        if isinstance(written, Applied):
            return written, False
        refusal = refusal_in(written)
        if refusal is None:
            return self._written(target, subresource, asked, written), False
        # A conflict of fields is there to stay; other conflicts are over once we look again.
        is_stale = refusal.status == _CONFLICT and "FieldManagerConflict" not in refusal.causes
        return self._refused(target, subresource, refusal), is_stale

    def _holds(
        self,
        target: Target,
        live: Mapping[str, Any] | None,
        wanted: Mapping[str, Any],
        subresource: str,
    ) -> bool:
        return live is not None and self.is_applied(target, live, wanted, subresource=subresource)

    def _written(
        self, target: Target, subresource: str, wanted: Mapping[str, Any], answer: Answer
    ) -> Applied:
        self._forbidden.discard(_kind(target, subresource))
        live = _object_in(answer)
        if live is None:
            return Applied(outcome=Outcome.WRITTEN)
        made = self._made_of(live, subresource)
        self._taken[target, subresource] = (_digest(wanted), _revision(live), made)
        return Applied(outcome=Outcome.WRITTEN, live=live)

    def _refused(self, target: Target, subresource: str, refusal: Refusal) -> Applied:
        outcome = outcome_of(refusal)
        kind = _kind(target, subresource)
        if outcome is Outcome.FORBIDDEN and kind not in self._forbidden:
            self._forbidden.add(kind)
            _log.error("write.forbidden", kind=kind[1], object=str(target))
        return Applied(outcome=outcome, message=refusal.message or str(refusal))


async def ask_as_leader(  # noqa: PLR0913 - a request has that many parts
    client: ClusterClient,
    lead: Lead,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    params: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> Answer | Applied:
    """Return the answer, or what came of there being none."""
    left = lead.seconds_left
    # A write that starts at the very end may arrive when others lead.
    if left < _SHORTEST:
        return Applied(outcome=Outcome.NOT_LEADING, message="this replica does not lead")
    try:
        return await client.request(
            method,
            path,
            params=params,
            body=body,
            content_type=content_type,
            timeout=min(_PATIENCE, left),
        )
    except ClusterUnavailableError as error:
        return Applied(outcome=Outcome.UNAVAILABLE, message=str(error))


def _path(target: Target, subresource: str) -> str:
    return target.path + (f"/{subresource}" if subresource else "")


def _kind(target: Target, subresource: str) -> tuple[str, str]:
    return target.api_version, target.plural + (f"/{subresource}" if subresource else "")


def outcome_of(refusal: Refusal) -> Outcome:
    """Return what came of asking for what the API server would not do."""
    match refusal.status:
        case 403:
            # A namespace that is being deleted takes nothing new and says so with this status.
            is_ending = "NamespaceTerminating" in refusal.causes
            return Outcome.GONE if is_ending else Outcome.FORBIDDEN
        case 404:
            return Outcome.GONE
        case 409:
            return Outcome.CONFLICT
        case status if status >= 500 or status in {_TOO_MANY, 401, 408}:
            return Outcome.UNAVAILABLE
    return Outcome.REFUSED


def _object_in(answer: Answer) -> Mapping[str, Any] | None:
    if not 200 <= answer.status < 300:
        return None
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _digest(wanted: Mapping[str, Any]) -> bytes:
    """Return what tells one wish from another, at whatever version it was made up."""
    metadata = {**(wanted.get("metadata") or {}), "resourceVersion": None}
    return sha256(json.dumps({**wanted, "metadata": metadata}, sort_keys=True).encode()).digest()


def _revision(live: Mapping[str, Any]) -> str:
    return str((live.get("metadata") or {}).get("resourceVersion") or "")
