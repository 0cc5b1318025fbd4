"""What the process tells operators: log lines and metrics of streams, commits and problems.

In: what the discovery server, the graph and the problem collections report. Out: structured log
events (docs/events.md) and the metrics of ``controlplane.metrics``.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import structlog

from controlplane.dataflow import Change, CommitSummary
from controlplane.mesh.problems import ProblemKey
from controlplane.metrics import Metrics
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
}
_NAMES_LOGGED: Final = 10
_MESSAGE_LOGGED: Final = 1000

log = structlog.get_logger()


class StreamObservation:
    """Hears what happens on streams; an ``xds.observer.Observer``."""

    def __init__(self, metrics: Metrics, version: str) -> None:
        self._metrics = metrics
        self._clients = metrics.clients.labels(version=version)

    def connected(self, client: int, node: Node) -> None:
        """Count and log a client that introduced itself."""
        self._clients.inc()
        log.info("client.connected", client=client, id=node.id, node=node.name)

    def disconnected(self, client: int, reason: str) -> None:
        """Count and log the end of its stream."""
        self._clients.dec()
        log.info("client.disconnected", client=client, reason=reason)

    def refused(self, peer: str, reason: str) -> None:
        """Log a stream that was not served."""
        log.warning("client.refused", peer=peer, reason=reason)

    def sent(self, client: int, response: Response) -> None:
        """Count a response."""
        short = short_type(response.type_url)
        self._metrics.pushes.labels(type=short).inc()
        self._metrics.response_bytes.labels(type=short).observe(len(response.body))
        log.debug(
            "response.sent",
            client=client,
            type=short,
            updated=response.updated,
            removed=response.removed,
            bytes=len(response.body),
        )

    def acknowledged(self, client: int, type_url: str, commit: int, seconds: float) -> None:
        """Measure how long a client took to accept a response."""
        self._metrics.convergence.observe(seconds)
        log.debug(
            "response.acknowledged",
            client=client,
            type=short_type(type_url),
            commit=commit,
            seconds=round(seconds, 6),
        )

    def rejected(self, client: int, type_url: str, names: tuple[str, ...], message: str) -> None:
        """Count and log resources that a client refused."""
        short = short_type(type_url)
        self._metrics.rejects.labels(type=short).inc()
        log.error(
            "response.rejected",
            client=client,
            type=short,
            resources=list(names[:_NAMES_LOGGED]),
            message=message[:_MESSAGE_LOGGED],
        )


class CommitObservation:
    """Hears of every commit of the graph."""

    def __init__(self, metrics: Metrics, catalog: Catalog) -> None:
        self._metrics = metrics
        self._catalog = catalog

    def committed(self, summary: CommitSummary) -> None:
        """Count a commit, and log rules that failed: a fault of ours, never of the input."""
        self._metrics.commits.inc()
        self._metrics.rule_calls.inc(summary.rule_calls)
        for key, short in ((ADDRESSES, "wds"), (AUTHORIZATIONS, "wads")):
            self._metrics.resources.labels(type=short).set(len(self._catalog.table(key)))
        for failure in summary.failures:
            log.error(
                "rule.failed",
                collection=failure.collection,
                key=str(failure.key),
                error=repr(failure.error),
            )


class ProblemObservation:
    """Hears of problems as they come and go, and keeps the current ones."""

    def __init__(self, metrics: Metrics, located: Callable[[Problem], Problem]) -> None:
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
