"""How the API server calls our webhook: trusted roots and looks in, patches of the object out.

The chart installs the ValidatingWebhookConfiguration with ``failurePolicy: Ignore`` and no
``caBundle``. The leader fills the bundle in, has failures count once the webhook answers, and no
longer when it has been silent for a while: a mesh without its control plane must stay editable
(docs/protocol/admission.md AD-20 to AD-26).
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Lead, Outcome, Target
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.cluster.refusal import Refusal, refusal_in
from controlplane.controllers.queue import Trouble, WorkQueue
from controlplane.controllers.root_certificates import Roots
from controlplane.controllers.webhook_probe import Probe

MANAGER: Final = "istiod-lite-webhook"
WEBHOOKS: Final = frozenset({"validation.istio.io"})
"""Names of the entries that are ours."""

_FAIL: Final = "Fail"
_IGNORE: Final = "Ignore"
_PATCH: Final = "application/json-patch+json"
_PATIENCE: Final = 10.0
_SHORTEST: Final = 0.5
_TRIES: Final = 3
_CHANGED: Final = frozenset({409, 422})
_LATER: Final = frozenset({401, 408, 429})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPace:
    """Seconds between two looks, and until a write that was given up is tried again.

    Failures are ignored after ``silence`` seconds and ``looks`` in a row without an answer.
    """

    look: float = 10.0
    silence: float = 30.0
    given_up: float = 60.0
    looks: int = 3


class WebhookConfiguration:
    """Keeps the configuration called ``configuration``; ``roots`` None: not yet.

    ``webhooks`` are the names of the entries that are ours; the others stay as they are.
    """

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        configuration: str,
        roots: Callable[[], Roots | None],
        probe: Probe,
        clock: Clock,
        draw: Callable[[], float],
        webhooks: Collection[str] = WEBHOOKS,
        pace: WebhookPace | None = None,
    ) -> None:
        self._client = client
        self._lead = lead
        self._target = Target(
            api_version="admissionregistration.k8s.io/v1",
            plural="validatingwebhookconfigurations",
            name=configuration,
        )
        self._roots = roots
        self._probe = probe
        self._clock = clock
        self._webhooks = frozenset(webhooks)
        self._pace = pace or WebhookPace()
        self._queue: WorkQueue[str] = WorkQueue(self._write, name=self.name, clock=clock, draw=draw)
        self._policy = ""
        self._heard_at: float | None = None
        self._failures = 0
        self._reason = ""
        self._added_at = float("-inf")
        self._is_missing = False
        self._forbidden: set[str] = set()

    @property
    def name(self) -> str:
        """Return its name for people."""
        return "webhook-configuration"

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """Return what is wrong with the configuration, and with a webhook that is configured."""
        if not self._reason or self._is_missing:
            return self._queue.troubles
        silent = Trouble(
            outcome=Outcome.UNAVAILABLE,
            message=f"the webhook does not answer: {self._reason}",
            tries=self._failures,
            is_given_up=False,
        )
        return {**self._queue.troubles, "validating webhook": silent}

    async def run(self) -> None:
        """Keep it until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            while True:
                await self.look()
                await self._clock.sleep(self._pace.look)

    async def look(self) -> None:
        """Ask the webhook, and queue what may have to be written."""
        roots = self._roots()
        if self._lead.seconds_left <= 0 or roots is None:
            # What the next leader finds out counts, and not what this one knew long ago.
            self._policy, self._heard_at = "", None
            self._failures, self._reason = 0, ""
            return
        if self._heard_at is None:
            self._heard_at = self._clock.monotonic()
        self._learn(await self._probe(roots.pem))
        now = self._clock.monotonic()
        trouble = self._queue.troubles.get(self._target.name)
        is_waiting = trouble is not None and trouble.is_given_up
        if not is_waiting or now - self._added_at >= self._pace.given_up:
            self._added_at = now
            self._queue.add(self._target.name)

    def _learn(self, reason: str) -> None:
        now = self._clock.monotonic()
        self._reason = reason
        if not reason:
            self._heard_at, self._failures = now, 0
            if self._policy != _FAIL:
                self._policy = _FAIL
                _log.info("webhook.answers", configuration=self._target.name)
            return
        self._failures += 1
        heard_at = now if self._heard_at is None else self._heard_at
        is_silent = self._failures >= self._pace.looks and now - heard_at >= self._pace.silence
        if is_silent and self._policy != _IGNORE:
            self._policy = _IGNORE
            _log.warning("webhook.silent", configuration=self._target.name, reason=reason)

    async def _write(self, _: str) -> Applied:
        applied = Applied(outcome=Outcome.CONFLICT)
        for _try in range(_TRIES):
            found = await self._send("GET")
            if isinstance(found, Applied):
                return found
            patch = [step for group in self._differences(found) for step in group]
            if not patch:
                return Applied(outcome=Outcome.UNCHANGED, live=found)
            written = await self._send("PATCH", json.dumps(patch).encode())
            if not isinstance(written, Applied):
                return Applied(outcome=Outcome.WRITTEN, live=written)
            applied = written
            # Somebody moved the entries meanwhile: look again.
            if applied.outcome is not Outcome.CONFLICT:
                break
        return applied

    def _differences(self, live: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
        """Yield for each of our entries what to patch, sure to hit that entry and no other."""
        entries = live.get("webhooks")
        roots = self._roots()
        ours = [
            (index, entry)
            for index, entry in enumerate(entries if isinstance(entries, list) else ())
            if isinstance(entry, dict) and entry.get("name") in self._webhooks
        ]
        self._note_missing(is_missing=not ours)
        if roots is None:
            return
        bundle = b64encode(roots.pem.encode()).decode()
        for index, entry in ours:
            at = f"/webhooks/{index}"
            steps = []
            configured = entry.get("clientConfig")
            if isinstance(configured, dict) and configured.get("caBundle") != bundle:
                steps.append(_put(f"{at}/clientConfig/caBundle", bundle))
            if self._policy and entry.get("failurePolicy") != self._policy:
                steps.append(_put(f"{at}/failurePolicy", self._policy))
            if steps:
                yield [{"op": "test", "path": f"{at}/name", "value": entry["name"]}, *steps]

    async def _send(self, method: str, body: bytes | None = None) -> Mapping[str, Any] | Applied:
        """Return the object, or what came of there being none."""
        left = self._lead.seconds_left
        # A write that starts at the very end may arrive when others lead.
        if left < _SHORTEST:
            return Applied(outcome=Outcome.NOT_LEADING, message="this replica does not lead")
        try:
            answer = await self._client.request(
                method,
                self._target.path,
                params={"fieldManager": MANAGER} if body is not None else None,
                body=body,
                content_type=_PATCH,
                timeout=min(_PATIENCE, left),
            )
        except ClusterUnavailableError as error:
            return Applied(outcome=Outcome.UNAVAILABLE, message=str(error))
        refusal = refusal_in(answer)
        if refusal is not None:
            return self._refused(method, refusal)
        self._forbidden.discard(method)
        try:
            found: Any = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        return Applied(outcome=Outcome.UNAVAILABLE, message="the API server answered no object")

    def _refused(self, method: str, refusal: Refusal) -> Applied:
        outcome = Outcome.REFUSED
        if refusal.status == 404:
            outcome = Outcome.GONE
            self._note_missing(is_missing=True)
        elif refusal.status == 403:
            outcome = Outcome.FORBIDDEN
            if method not in self._forbidden:
                self._forbidden.add(method)
                _log.error("write.forbidden", kind=self._target.plural, object=str(self._target))
        elif refusal.status in _CHANGED and method == "PATCH":
            outcome = Outcome.CONFLICT
        elif refusal.status >= 500 or refusal.status in _LATER:
            outcome = Outcome.UNAVAILABLE
        return Applied(outcome=outcome, message=refusal.message or str(refusal))

    def _note_missing(self, *, is_missing: bool) -> None:
        if is_missing and not self._is_missing:
            _log.info("webhook.unconfigured", configuration=self._target.name)
        self._is_missing = is_missing


def _put(path: str, value: str) -> dict[str, Any]:
    # "add" replaces what is there and makes what is not.
    return {"op": "add", "path": path, "value": value}
