"""What the process tells operators: log lines and metrics of streams, commits and problems.

In: what the discovery server, the graph and the problem collections report. Out: structured log
events (docs/events.md) and the metrics of ``controlplane.metrics``.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import structlog

from controlplane.dataflow import Change, CommitSummary
from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SECRET_TYPE,
)
from controlplane.insight.resource_objects import object_of
from controlplane.mesh.problems import ProblemKey
from controlplane.metrics import MeshMetrics, Metrics, ServingMetrics
from controlplane.metrics.kinds import OTHER, Bounded
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity
from controlplane.pipeline.intake import FoundProblems
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESSES, AUTHORIZATIONS
from controlplane.xds.node import Node
from controlplane.xds.response import Response

_SHORT_TYPES: Final = {
    "type.googleapis.com/istio.workload.Address": "wds",
    "type.googleapis.com/istio.workload.Workload": "wds",
    "type.googleapis.com/istio.security.Authorization": "wads",
    CLUSTER_TYPE: "cds",
    ENDPOINT_TYPE: "eds",
    LISTENER_TYPE: "lds",
    ROUTE_TYPE: "rds",
    SECRET_TYPE: "sds",
}
_NAMES_LOGGED: Final = 10
_MESSAGE_LOGGED: Final = 1000
_NAMES_COUNTED: Final = 100
_VERSIONS: Final = 16
_KINDS: Final = frozenset(
    {
        "AuthorizationPolicy",
        "Gateway",
        "PeerAuthentication",
        "Pod",
        "Service",
        "ServiceEntry",
        "WorkloadEntry",
    }
)

log = structlog.get_logger()


class StreamObservation:
    """Hears what happens on streams; an ``xds.observer.Observer``.

    ``elapsed`` tells how long ago, in seconds, the first cause of a commit arrived; None when that
    is no longer known.
    """

    def __init__(self, metrics: ServingMetrics, elapsed: Callable[[int], float | None]) -> None:
        self._metrics = metrics
        self._elapsed = elapsed
        self._version = Bounded(_VERSIONS)
        self._clients: dict[int, tuple[str, str]] = {}
        self._types: dict[str, _TypeObservation] = {}

    def connected(self, client: int, node: Node) -> None:
        """Count and log a client that introduced itself."""
        version = self._version(node.version) if node.version else "unknown"
        self._clients[client] = (version, node.kind)
        self._metrics.clients.labels(version=version).inc()
        self._metrics.sessions.labels(kind=node.kind).inc()
        log.info("client.connected", client=client, id=node.id, node=node.name)
        if node.mistakes_paths:
            log.warning("waypoint.mistakes-paths", client=client, id=node.id, version=node.version)

    def disconnected(self, client: int, reason: str) -> None:
        """Count and log the end of its stream."""
        version, kind = self._clients.pop(client)
        self._metrics.clients.labels(version=version).dec()
        self._metrics.sessions.labels(kind=kind).dec()
        log.info("client.disconnected", client=client, reason=reason)

    def refused(self, peer: str, reason: str) -> None:
        """Count and log a stream that was not served."""
        self._metrics.refused.inc()
        log.warning("client.refused", peer=peer, reason=reason)

    def sent(self, client: int, response: Response) -> None:
        """Count a response."""
        observed = self._of(response.type_url)
        observed.pushes.inc()
        observed.size.observe(len(response.body))
        observed.resources.observe(response.updated + response.removed)
        log.debug(
            "response.sent",
            client=client,
            type=observed.short,
            updated=response.updated,
            removed=response.removed,
            bytes=len(response.body),
        )

    def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
        """Measure how long a client took to accept a response."""
        self._metrics.acknowledgement.observe(seconds)
        log.debug(
            "response.acknowledged",
            client=client,
            type=short_type(type_url),
            commit=commit,
            seconds=round(seconds, 6),
        )

    def caught_up(self, client: int, type_url: str, after: int) -> None:  # noqa: ARG002
        """Measure how long it took until a client accepted what it lacked.

        What came right after ``after`` is the oldest of that: a client that has everything is
        moved on with every commit, whether or not that concerns it.
        """
        seconds = self._elapsed(after + 1)
        if seconds is not None:
            self._of(type_url).latency.observe(seconds)
            self._metrics.convergence.observe(seconds)

    def rejected(self, client: int, type_url: str, names: tuple[str, ...], message: str) -> None:
        """Count and log resources that a client refused."""
        short = short_type(type_url)
        self._metrics.rejects.labels(type=short).inc()
        for name in names[:_NAMES_COUNTED]:
            kind = _object_kind(type_url, name)
            self._metrics.rejected_resources.labels(type=short, kind=kind).inc()
        log.error(
            "response.rejected",
            client=client,
            type=short,
            resources=list(names[:_NAMES_LOGGED]),
            message=message[:_MESSAGE_LOGGED],
        )

    def held(self, seconds: float, late: tuple[Name, ...]) -> None:
        """Measure how long addresses waited for waypoints, and log those that were not ready."""
        self._metrics.addresses_held.observe(seconds)
        if late:
            log.warning(
                "waypoint.late",
                waypoints=[str(name) for name in late[:_NAMES_LOGGED]],
                seconds=round(seconds, 3),
            )

    def _of(self, type_url: str) -> "_TypeObservation":
        short = short_type(type_url)
        found = self._types.get(short)
        if found is None:
            found = self._types[short] = _TypeObservation(self._metrics, short)
        return found


class _TypeObservation:
    """The metrics of one type, looked up once: this is done for every response."""

    __slots__ = ("latency", "pushes", "resources", "short", "size")

    def __init__(self, metrics: ServingMetrics, short: str) -> None:
        self.short = short
        self.pushes = metrics.pushes.labels(type=short)
        self.size = metrics.response_bytes.labels(type=short)
        self.resources = metrics.response_resources.labels(type=short)
        self.latency = metrics.event_to_acknowledgement.labels(type=short)


class CommitObservation:
    """Hears of every commit of the graph; ``elapsed`` as for streams."""

    def __init__(
        self, metrics: Metrics, catalog: Catalog, elapsed: Callable[[int], float | None]
    ) -> None:
        self._metrics = metrics
        self._catalog = catalog
        self._elapsed = elapsed
        self._last = catalog.commit

    def committed(self, summary: CommitSummary) -> None:
        """Count a commit, and log rules that failed: a fault of ours, never of the input."""
        metrics = self._metrics.mesh
        metrics.commits.inc()
        metrics.rule_calls.inc(summary.rule_calls)
        for key, short in ((ADDRESSES, "wds"), (AUTHORIZATIONS, "wads")):
            self._metrics.serving.resources.labels(type=short).set(len(self._catalog.table(key)))
        before, self._last = self._last, self._catalog.commit
        seconds = self._elapsed(self._last) if self._last != before else None
        if seconds is not None:
            metrics.batching.observe(seconds)
        for failure in summary.failures:
            metrics.rule_failures.labels(collection=failure.collection).inc()
            log.error(
                "rule.failed",
                collection=failure.collection,
                key=str(failure.key),
                error=repr(failure.error),
            )


class ProblemObservation:
    """Hears of problems as they come and go, and keeps the current ones."""

    def __init__(self, metrics: MeshMetrics, located: Callable[[Problem], Problem]) -> None:
        self._metrics = metrics
        self._located = located
        self._current: dict[Hashable, tuple[Problem, ...]] = {}
        for severity in Severity:
            metrics.problems.labels(severity=severity.value).set(0)

    @property
    def current(self) -> tuple[Problem, ...]:
        """Return every problem there is, with file and line where they are known."""
        return tuple(
            self._located(problem) for problems in self._current.values() for problem in problems
        )

    def found(self, changes: Sequence[Change[str, FoundProblems]]) -> None:
        """Take what changed about the texts of manifests."""
        for key, _, new in changes:
            self._replace(("text", key), new.problems if new else ())
        self._count()

    def judged(self, changes: Sequence[Change[ProblemKey, Problem]]) -> None:
        """Take what changed about what the rules say of objects."""
        for key, _, new in changes:
            self._replace(("object", key), (new,) if new else ())
        self._count()

    def _replace(self, key: Hashable, problems: tuple[Problem, ...]) -> None:
        before = self._current.pop(key, ())
        if problems:
            self._current[key] = problems
        for problem in before:
            if problem not in problems:
                log.info("problem.resolved", **_facts(self._located(problem)))
        for problem in problems:
            if problem not in before:
                level = log.info if problem.severity is Severity.INFO else log.warning
                level("problem.found", **_facts(self._located(problem)))

    def _count(self) -> None:
        counts = Counter(
            problem.severity for problems in self._current.values() for problem in problems
        )
        for severity in Severity:
            self._metrics.problems.labels(severity=severity.value).set(counts[severity])


def short_type(type_url: str) -> str:
    """Return the short name operators know a resource type by."""
    return _SHORT_TYPES.get(type_url, "other")


def _object_kind(type_url: str, name: str) -> str:
    """Return the kind of the object a refused resource was made of; clients choose the name."""
    reference = object_of(type_url, name)
    return reference.kind if reference is not None and reference.kind in _KINDS else OTHER


def _facts(problem: Problem) -> dict[str, object]:
    facts: dict[str, object] = {
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
    }
    if problem.object is not None:
        facts["object"] = str(problem.object)
    for name in ("file", "line", "field"):
        value = getattr(problem, name)
        if value is not None:
            facts[name] = value
    return facts
