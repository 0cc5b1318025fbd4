"""The trusted roots in every namespace: namespaces of the mesh and a bundle in, ConfigMaps out.

Workloads, waypoints and node proxies mount the ConfigMap to verify the control plane. Only the
leader writes; what it wrote it reports, because a new root waits until it is everywhere
(docs/protocol/leadership.md RC-1 to RC-7, authorities.md AT-17).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Applier, Lead, Outcome, Target
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterError
from controlplane.controllers.queue import Trouble, WorkQueue
from controlplane.model.certificate import BundleTarget
from controlplane.store.errors import StoreError

MANAGER: Final = "istiod-lite-root-certificates"
NAME: Final = "istio-ca-root-cert"
ENTRY: Final = "root-cert.pem"
KIND: Final = "ConfigMap"
SKIPPED: Final = frozenset({"kube-public", "kube-node-lease", "local-path-storage"})

_LABELS: Final = {"istio.io/config": "true"}
_WATCHED_SECONDS: Final = 1800

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The trusted roots as one PEM text, and the version of the bundle they are."""

    pem: str
    version: int


class Reports(Protocol):
    """Where is noted what was written; the journal of the authorities is one."""

    async def targets(self) -> tuple[BundleTarget, ...]:
        """Return every place that was noted.

        Raises:
            StoreError: not now.
        """
        ...

    async def report_target(self, report: BundleTarget) -> None:
        """Note it.

        Raises:
            StoreError: not now.
        """
        ...

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        """Forget a place that is no more.

        Raises:
            StoreError: not now.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPace:
    """Seconds: between two looks, until everything is gone over again, after a broken watch.

    ``rewrites`` is how often between two goings-over a ConfigMap that others changed is put right.
    """

    look: float = 1.0
    resync: float = 600.0
    watch_pause: float = 5.0
    rewrites: int = 5


class RootCertificates:
    """Keeps the ConfigMaps. ``namespaces`` are those of the mesh; ``roots`` None: not yet."""

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        namespaces: Callable[[], Collection[str]],
        roots: Callable[[], Roots | None],
        reports: Reports,
        cluster: str,
        clock: Clock,
        draw: Callable[[], float],
        pace: RootPace | None = None,
    ) -> None:
        self._client = client
        self._lead = lead
        self._namespaces = namespaces
        self._roots = roots
        self._reports = reports
        self._cluster = cluster
        self._clock = clock
        self._draw = draw
        self._pace = pace or RootPace()
        self._applier = Applier(client, manager=MANAGER, lead=lead)
        self._queue: WorkQueue[str] = WorkQueue(self._write, name=self.name, clock=clock, draw=draw)
        self._known: frozenset[str] = frozenset()
        self._version = -1
        self._resynced_at: float | None = None
        self._is_agreed = False
        self._is_unreported = False
        self._gone: set[str] = set()
        self._rewrites: Counter[str] = Counter()
        self._told: dict[str, tuple[int, str]] = {}
        self._to_tell: dict[str, BundleTarget | None] = {}

    @property
    def name(self) -> str:
        """Return what it is called."""
        return "root-certificates"

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """Return what is wrong, by namespace."""
        return self._queue.troubles

    def expected_targets(self) -> frozenset[tuple[str, str, str]]:
        """Return cluster, kind and name of every place that should have the bundle."""
        return frozenset(self._place(name) for name in self._wanted() - self._gone)

    async def run(self) -> None:
        """Keep them until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            group.create_task(self._watch())
            while True:
                self.look()
                await self._tell()
                await self._clock.sleep(self._pace.look)

    def look(self) -> None:
        """Queue what may have to be written since the last look."""
        roots = self._roots()
        if self._lead.seconds_left <= 0 or roots is None:
            self._resynced_at = None
            return
        now, wanted = self._clock.monotonic(), self._wanted()
        is_due = self._resynced_at is None or now - self._resynced_at >= self._pace.resync
        if is_due:
            self._rewrites.clear()
            self._gone.clear()
            self._is_agreed = False
            self._resynced_at = now
        is_all = is_due or roots.version != self._version
        self._queue.add(*sorted(wanted if is_all else wanted - self._known))
        left = self._known - wanted
        for name in left:
            self._forget(name)
        # What is wrong with them is over.
        self._queue.add(*left)
        self._known, self._version = wanted, roots.version

    def noticed(self, line: bytes) -> bool:
        """Take in a line of the watch; return whether the watch can go on."""
        if not line:
            return True
        try:
            event = json.loads(line)
            kind, live = event["type"], event["object"]
            namespace = live["metadata"].get("namespace", "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        if kind == "ERROR":
            return False
        if kind == "BOOKMARK":
            return True
        if namespace not in self._known or (kind != "DELETED" and self._is_right(live)):
            return True
        # Of a ConfigMap that is yet to be written nobody is asked to keep their hands off.
        if self._told.get(namespace, (-1, ""))[0] == self._version:
            self._rewrites[namespace] += 1
        if self._rewrites[namespace] <= self._pace.rewrites:
            self._queue.add(namespace)
        return True

    async def _watch(self) -> None:
        params = {
            "watch": "true",
            "fieldSelector": f"metadata.name={NAME}",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCHED_SECONDS),
        }
        trouble = ""
        while True:
            if self._lead.seconds_left <= 0:
                await self._clock.sleep(self._pace.look)
                continue
            try:
                lines = self._client.stream("/api/v1/configmaps", params)
                async with aclosing(lines):
                    async for line in lines:
                        trouble = ""
                        if not self.noticed(line) or self._lead.seconds_left <= 0:
                            break
            except ClusterError as error:
                # Once for an outage, however long it is.
                if not trouble:
                    _log.warning("root-certificates.unwatched", reason=str(error))
                trouble = str(error)
            await self._clock.sleep(self._pace.watch_pause * (1 + self._draw()))

    async def _write(self, namespace: str) -> Applied:
        roots = self._roots()
        if roots is None or namespace not in self._wanted():
            return Applied(outcome=Outcome.GONE)
        target = Target(api_version="v1", plural="configmaps", namespace=namespace, name=NAME)
        wanted = {
            "apiVersion": "v1",
            "kind": KIND,
            "metadata": {"name": NAME, "namespace": namespace, "labels": _LABELS},
            "data": {ENTRY: roots.pem},
        }
        # Forced: the name is the control plane's, and whoever led before wrote it otherwise.
        applied = await self._applier.apply(target, wanted, is_forced=True)
        if applied.outcome is Outcome.GONE:
            self._gone.add(namespace)
            self._told.pop(namespace, None)
            self._to_tell[namespace] = None
        elif applied.outcome is not Outcome.NOT_LEADING:
            self._gone.discard(namespace)
            self._note(namespace, roots.version if applied.is_done else 0, applied)
        return applied

    def _note(self, namespace: str, version: int, applied: Applied) -> None:
        error = "" if applied.is_done else f"{applied.outcome}: {applied.message}"
        if self._told.get(namespace) == (version, error):
            return
        self._told[namespace] = (version, error)
        cluster, kind, name = self._place(namespace)
        self._to_tell[namespace] = BundleTarget(
            cluster=cluster,
            kind=kind,
            name=name,
            bundle_version_written=version,
            written_at=self._clock.now(),
            error=error,
        )

    def _forget(self, namespace: str) -> None:
        self._applier.forget(
            Target(api_version="v1", plural="configmaps", namespace=namespace, name=NAME)
        )
        self._gone.discard(namespace)
        if self._told.pop(namespace, None) is not None:
            self._to_tell[namespace] = None

    async def _tell(self) -> None:
        """Report what is news; what cannot be reported now is at the next look."""
        if self._lead.seconds_left <= 0 or self._resynced_at is None:
            return
        try:
            if not self._is_agreed:
                await self._agree()
            for namespace, report in list(self._to_tell.items()):
                if report is None:
                    cluster, kind, name = self._place(namespace)
                    await self._reports.forget_target(cluster=cluster, kind=kind, name=name)
                else:
                    await self._reports.report_target(report)
                if self._to_tell.get(namespace) is report:
                    del self._to_tell[namespace]
        except StoreError as error:
            # Once for an outage, however long it is.
            if not self._is_unreported:
                _log.warning("root-certificates.unreported", reason=str(error))
            self._is_unreported = True
        else:
            self._is_unreported = False

    async def _agree(self) -> None:
        """Forget places that were noted before and are none any more: a new root waits for all."""
        wanted = self._wanted()
        for target in await self._reports.targets():
            namespace, _, name = target.name.partition("/")
            if (target.cluster, target.kind, name) != (self._cluster, KIND, NAME):
                continue
            if namespace not in wanted:
                self._to_tell.setdefault(namespace, None)
            elif namespace not in self._to_tell:
                self._told[namespace] = (target.bundle_version_written, target.error)
        self._is_agreed = True

    def _is_right(self, live: Mapping[str, Any]) -> bool:
        roots = self._roots()
        data, labels = live.get("data") or {}, live["metadata"].get("labels") or {}
        return roots is None or (data.get(ENTRY) == roots.pem and _LABELS.items() <= labels.items())

    def _wanted(self) -> frozenset[str]:
        return frozenset(self._namespaces()) - SKIPPED

    def _place(self, namespace: str) -> tuple[str, str, str]:
        return self._cluster, KIND, f"{namespace}/{NAME}"
