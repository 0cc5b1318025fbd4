"""What operators are told of the cluster: sentences for readiness, gauges for metrics.

In: how far the source is with each kind, who leads, what could not be written. Out: why nothing is
served yet, what is worth knowing while it is (docs/protocol/replicas.md RP-8 to RP-10).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from controlplane.app.cluster import Cluster
from controlplane.app.writers import Writers
from controlplane.clock import Clock
from controlplane.cluster.lease import LeaseLeadership
from controlplane.cluster.write_lead import WriteLead
from controlplane.controllers.controller import Controller
from controlplane.metrics import ClusterMetrics, Metrics
from controlplane.sources.kubernetes.state import KindState

_NAMED: Final = 3
_MEASURED: Final = 1.0


def unread(states: Iterable[KindState]) -> tuple[str, ...]:
    """Return which kinds were not read whole yet, and why, a sentence each."""
    return tuple(
        f"{state.kind} objects have not been read yet"
        + (f": {state.trouble}" * bool(state.trouble))
        for state in states
        if not state.is_synced
    )


def stale(states: Iterable[KindState], now: float) -> tuple[str, ...]:
    """Return since when which kinds are not read any more, a sentence for each reason.

    ``now`` is the time of the monotonic clock.
    """
    kinds: defaultdict[str, list[KindState]] = defaultdict(list)
    for state in states:
        if state.is_synced and state.troubled_since is not None:
            kinds[state.trouble].append(state)
    found = []
    for trouble, troubled in sorted(kinds.items()):
        since = min(each.troubled_since or now for each in troubled)
        names = ", ".join(sorted(each.kind for each in troubled))
        found.append(
            f"the last objects known stay in force for {names}, "
            f"not read for {max(0.0, now - since):.0f} s: {trouble}"
        )
    return tuple(found)


def leads(leadership: LeaseLeadership, lead: WriteLead) -> str:
    """Return who leads, as far as this replica knows, and why it does not write if it does not."""
    if leadership.is_leader:
        said = f"this replica leads, with token {leadership.token}"
        return f"{said}, and writes nothing: {lead.reason}" if lead.reason else said
    trouble = f" ({leadership.trouble})" if leadership.trouble else ""
    if leadership.holder in {"", leadership.identity}:
        return f"no replica is known to lead{trouble}"
    return f"replica {leadership.holder.rpartition('_')[0]} leads{trouble}"


def troubled(controllers: Iterable[Controller]) -> tuple[str, ...]:
    """Return what is not the way it should be, the first few objects of each controller."""
    found = []
    for controller in controllers:
        troubles = list(controller.troubles.items())
        for key, trouble in troubles[:_NAMED]:
            until = "given up until it changes" if trouble.is_given_up else "tried again"
            found.append(
                f"{controller.name}: {key} is not written, {trouble.outcome}: "
                f"{trouble.message} ({until})"
            )
        if len(troubles) > _NAMED:
            found.append(f"{controller.name}: and {len(troubles) - _NAMED} more")
    return tuple(found)


async def measure(cluster: Cluster, writers: Writers, metrics: Metrics, clock: Clock) -> None:
    """Keep the gauges until cancelled."""
    while True:
        measure_kinds(metrics.cluster, cluster.source.states, clock.monotonic())
        metrics.cluster.leads.labels(election=cluster.election).set(cluster.leadership.is_leader)
        metrics.cluster.may_write.set(cluster.lead.seconds_left > 0)
        measure_troubles(metrics.cluster, writers.controllers)
        await clock.sleep(_MEASURED)


def measure_kinds(metrics: ClusterMetrics, states: Iterable[KindState], now: float) -> None:
    """Set the gauges of how far the source is; ``now`` is the monotonic clock's."""
    metrics.watch_state.clear()
    for state in states:
        since = state.troubled_since
        metrics.watch_state.labels(kind=state.kind, state=_state(state)).set(1)
        metrics.watched_objects.labels(kind=state.kind).set(state.objects)
        metrics.stale_seconds.labels(kind=state.kind).set(0.0 if since is None else now - since)


def measure_troubles(metrics: ClusterMetrics, controllers: Iterable[Controller]) -> None:
    """Set the gauges of what could not be written."""
    metrics.write_troubles.clear()
    for controller in controllers:
        outcomes = Counter(each.outcome.value for each in controller.troubles.values())
        for outcome, count in outcomes.items():
            labels = {"controller": controller.name, "outcome": outcome}
            metrics.write_troubles.labels(**labels).set(count)


def _state(state: KindState) -> str:
    if not state.is_synced:
        return "waiting"
    if state.troubled_since is not None:
        return "stale"
    return "current" if state.is_present else "absent"
