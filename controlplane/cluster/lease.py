"""Leadership as a Lease of the cluster: replicas in, at most one that may write out.

A candidate takes a Lease that was given up, or that it has watched stay unchanged for the time its
holder claimed; only the candidate's own monotonic clock counts, so clocks that disagree do no
harm. A holder stops on its own well before anybody else may begin
(docs/protocol/leadership.md LE-1 to LE-9).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.cluster.client import Answer, ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.cluster.lease_record import LeaseRecord, new_lease, read_lease
from controlplane.cluster.refusal import require_success
from controlplane.leadership import Candidate

_log = structlog.get_logger()
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """Seconds: how long others wait, how long a holder leads unrenewed, between two tries.

    Raises:
        ValueError: they are not in that order, so that two could lead, or nobody for long.
    """

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration > self.deadline > self.retry > 0:
            raise ValueError("a lease must outlast its deadline, and that the pause between tries")


class LeaseLeadership(Candidate):
    """One process's standing in the election for the Lease ``name``.

    A process is never taken for another one of the same replica. ``floor`` returns the highest
    token that anybody has been seen with elsewhere: the tokens of a Lease that was deleted and
    made again go on above it.
    """

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        namespace: str,
        name: str,
        replica_id: str,
        clock: Clock,
        settings: LeaseSettings | None = None,
        floor: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings or LeaseSettings()
        super().__init__(election=name, clock=clock, pause=self._settings.retry)
        self._client = client
        self._namespace = namespace
        self._identity = f"{replica_id}_{secrets.token_hex(8)}"
        self._floor = floor
        self._seen: LeaseRecord | None = None
        self._seen_at = clock.monotonic()
        self._trouble = ""

    @property
    def identity(self) -> str:
        """Return what the Lease names this process."""
        return self._identity

    @property
    def holder(self) -> str:
        """Return who was seen to hold the Lease last; "" for nobody."""
        return "" if self._seen is None else self._seen.holder

    @property
    def trouble(self) -> str:
        """Return why the last try found nothing out; "" when it did."""
        return self._trouble

    async def campaign(self) -> None:
        """Take the lead, renew it, or learn that somebody else has it; never raises."""
        asked_at = self._clock.monotonic()
        try:
            token = await self._ask()
        except ClusterError as error:
            self._note_trouble(str(error))
        else:
            self._note_trouble("")
            # From before the question: the answer may have been long on its way.
            self._answered(token, until=asked_at + self._settings.deadline)
        self._note_change()

    async def _ask(self) -> int | None:
        """Return the token this process leads with, or None where somebody else leads."""
        answer = await self._request("GET", self._path)
        if answer.status == _NOT_FOUND:
            return await self._create()
        require_success(answer)
        record = self._see(read_lease(answer.body))
        is_ours = record.holder == self._identity
        # What was written but not answered is found here: held by us, at an unknown token.
        if not is_ours and not self._may_take(record):
            return None
        transitions = record.transitions
        if not is_ours:
            transitions = max(transitions, self._floor()) + 1
        body = record.held_by(
            self._identity,
            seconds=self._settings.duration,
            transitions=transitions,
            now=self._clock.now(),
        )
        written = await self._request("PUT", self._path, body)
        if written.status in {_CONFLICT, _NOT_FOUND}:
            return None
        require_success(written)
        self._see(read_lease(written.body))
        return transitions

    async def _create(self) -> int | None:
        transitions = self._floor() + 1
        body = new_lease(
            self._namespace,
            self._election,
            self._identity,
            seconds=self._settings.duration,
            transitions=transitions,
            now=self._clock.now(),
        )
        made = await self._request("POST", self._path.rpartition("/")[0], body)
        if made.status == _CONFLICT:
            return None
        require_success(made)
        self._see(read_lease(made.body))
        return transitions

    def _see(self, record: LeaseRecord) -> LeaseRecord:
        if self._seen is None or self._seen.revision != record.revision:
            self._seen = record
            self._seen_at = self._clock.monotonic()
        return record

    def _may_take(self, record: LeaseRecord) -> bool:
        """Tell whether a Lease of somebody else's was given up, or has run out before our eyes."""
        if not record.holder:
            return True
        unchanged = self._clock.monotonic() - self._seen_at
        return unchanged > max(record.seconds, self._settings.duration)

    async def _resign(self) -> None:
        """Let the next one lead at once; the count of holders stays as it is."""
        left, token = self.seconds_left, self._token
        self._token = None
        self._note_change()
        if token is None or left <= 0 or self._seen is None:
            return
        try:
            await self._give_up(self._seen, token)
        except ClusterError as error:
            self._note_trouble(str(error))

    async def _give_up(self, record: LeaseRecord, token: int) -> None:
        """Write that nobody holds the Lease; raises ClusterError.

        At the revision of our last write: nobody else's lead is given up. A renewal that was
        written when we were told to end, and not answered, is a later one of ours: it is looked
        for once.
        """
        given_up = await self._put_down(record, token)
        if given_up.status == _CONFLICT:
            found = await self._request("GET", self._path)
            require_success(found)
            record = read_lease(found.body)
            if (record.holder, record.transitions) != (self._identity, token):
                return
            given_up = await self._put_down(record, token)
        require_success(given_up)

    async def _put_down(self, record: LeaseRecord, token: int) -> Answer:
        body = record.held_by("", seconds=1.0, transitions=token, now=self._clock.now())
        return await self._request("PUT", self._path, body)

    async def _request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        return await self._client.request(method, path, body=body, timeout=self._patience)

    @property
    def _patience(self) -> float:
        """Seconds for one request: at least two tries fit before the deadline."""
        return (self._settings.deadline - self._settings.retry) / 4

    @property
    def _path(self) -> str:
        group = "/apis/coordination.k8s.io/v1"
        return f"{group}/namespaces/{self._namespace}/leases/{self._election}"

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("leadership.unknown", election=self._election, reason=trouble)
        self._trouble = trouble
