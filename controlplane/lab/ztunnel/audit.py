"""A strict observer of a server: every applied response comes in, violations are recorded.

A ztunnel forgives much of what is recorded here; a control plane that is to be trusted does none
of it (docs/protocol/ztunnel.md ZT-50 to ZT-59). Some faults show in the bytes alone. To tell a
split or ill-ordered change from two changes, the auditor must be told what the client should hold
when the change of a response is complete: ``expected``.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from controlplane.lab.ztunnel.authorization import Authorization
from controlplane.lab.ztunnel.decode import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    Response,
    Update,
)
from controlplane.lab.ztunnel.session import TYPES, Applied, Session
from controlplane.lab.ztunnel.workload import Workload


class Fault(Enum):
    """What a server did wrong."""

    POLICY_AFTER_WORKLOAD = "a workload came before a policy that covers it"
    POLICY_REMOVED_WHILE_LISTED = "a policy was removed before the workload that lists it"
    REMOVAL_BEFORE_UPDATE = "a change was sent with its removals before its updates"
    SPLIT_FIRST_RESPONSE = "the first response of a type was not the whole of it"
    UPDATED_AND_REMOVED = "one name was updated and removed in one response"
    REPEATED_NAME = "one name was sent twice in one response"
    REPEATED_NONCE = "a nonce was used twice on a stream"
    EMPTY_NONCE = "a response had no nonce"
    UNKNOWN_TYPE = "a response had a type that nobody asked for"
    WRONG_TYPE = "a resource was wrapped as another type than its response's"
    WRONG_NAME = "a resource's name is not the name of what it holds"
    REJECTED_RESOURCE = "a resource could not be used"
    RESENT_UNCHANGED = "a resource was sent again although the client had named its version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One fault: the response that showed it, and what it is about."""

    fault: Fault
    stream: int
    type_url: str
    nonce: str
    subject: str

    def __str__(self) -> str:
        return (
            f"{self.fault.value}: {self.subject} "
            f"(stream {self.stream}, {self.type_url.rpartition('.')[2]} {self.nonce})"
        )


def listed_policies(workload: Workload) -> Iterable[str]:
    """Return what a workload itself says must be held: the policies it lists."""
    return workload.authorization_policies


def nothing_known(_type_url: str, _response: Response) -> None:
    """Return that nothing is known of what a server has."""


class Auditor:
    """Watches one session; ``violations`` grow in the order in which they were seen."""

    def __init__(
        self,
        *,
        required: Callable[[Workload], Iterable[str]] = listed_policies,
        expected: Callable[[str, Response], Mapping[str, str] | None] = nothing_known,
    ) -> None:
        """Take what may be known of the server's side.

        ``required`` names the policies that must be held while a workload is. ``expected`` gives
        version by name of everything of a type that the client should hold when the change which
        a response belongs to is complete, or None when that is not known.
        """
        self.violations: list[Violation] = []
        self._required = required
        self._expected = expected
        self._session: Session | None = None
        self._stream = 0
        self._nonces: set[str] = set()

    def watch(self, session: Session) -> None:
        """Become the observer of a session; one auditor watches one session."""
        self._session = session
        session.observer = self.observe

    def observe(self, applied: Applied) -> None:
        """Judge one response that the watched session has just applied."""
        if applied.stream != self._stream:
            self._stream = applied.stream
            self._nonces.clear()
        for fault, subject in (
            *self._envelope_faults(applied.response),
            *_resource_faults(applied),
            *self._order_faults(applied),
        ):
            self.violations.append(
                Violation(
                    fault=fault,
                    stream=applied.stream,
                    type_url=applied.response.type_url,
                    nonce=applied.response.nonce,
                    subject=subject,
                )
            )

    def _envelope_faults(self, response: Response) -> Iterable[tuple[Fault, str]]:
        if response.type_url not in TYPES:
            yield Fault.UNKNOWN_TYPE, response.type_url
        if not response.nonce:
            yield Fault.EMPTY_NONCE, response.type_url
        elif response.nonce in self._nonces:
            yield Fault.REPEATED_NONCE, response.nonce
        self._nonces.add(response.nonce)

    def _order_faults(self, applied: Applied) -> Iterable[tuple[Fault, str]]:
        session, response = self._session, applied.response
        if session is None or response.type_url not in TYPES:
            return
        yield from self._policy_faults(session, response)
        if response.type_url == ADDRESS_TYPE:
            for name in self._late(session, AUTHORIZATION_TYPE, response):
                yield Fault.POLICY_AFTER_WORKLOAD, name
        late = self._late(session, response.type_url, response)
        if late and applied.is_first:
            yield Fault.SPLIT_FIRST_RESPONSE, ", ".join(late)
        elif late and response.removed:
            yield Fault.REMOVAL_BEFORE_UPDATE, ", ".join(late)

    def _late(self, session: Session, type_url: str, response: Response) -> list[str]:
        """Return the names of a type that should be held in their version now, and are not."""
        expected = self._expected(type_url, response) or {}
        refused = {rejection.name for rejection in response.rejections}
        retained = session.retained(type_url)
        return sorted(
            name
            for name, version in expected.items()
            if retained.get(name) != version and name not in refused
        )

    def _policy_faults(self, session: Session, response: Response) -> Iterable[tuple[Fault, str]]:
        state, node = session.state, session.node.node_name
        held = state.policies.by_name
        if response.type_url == ADDRESS_TYPE:
            for update in response.updates:
                workload = update.value
                if isinstance(workload, Workload) and _enforces(node, workload):
                    for name in self._required(workload):
                        if name not in held:
                            yield Fault.POLICY_AFTER_WORKLOAD, f"{workload.uid} needs {name}"
            return
        for name in response.removed:
            for workload in state.workloads.listing(name):
                if _enforces(node, workload):
                    yield Fault.POLICY_REMOVED_WHILE_LISTED, f"{workload.uid} lists {name}"


def _enforces(node: str, workload: Workload) -> bool:
    """Return whether the client decides about the workload: it runs on its node, if it has one."""
    return not node or workload.node == node


def _resource_faults(applied: Applied) -> Iterable[tuple[Fault, str]]:
    response = applied.response
    removed = set(response.removed)
    counted = Counter(response.names[: len(response.names) - len(response.removed)])
    for name, count in counted.items():
        if name in removed:
            yield Fault.UPDATED_AND_REMOVED, name
        if count > 1:
            yield Fault.REPEATED_NAME, name
    for rejection in response.rejections:
        yield Fault.REJECTED_RESOURCE, str(rejection)
    for update in response.updates:
        if update.any_type != response.type_url:
            yield Fault.WRONG_TYPE, f"{update.name} as {update.any_type}"
        if update.name != _name_of(update):
            yield Fault.WRONG_NAME, f"{update.name} holds {_name_of(update)}"
        if applied.is_first and update.version and _offers(applied, update):
            yield Fault.RESENT_UNCHANGED, update.name


def _offers(applied: Applied, update: Update) -> bool:
    return applied.offered.get(update.name) == update.version


def _name_of(update: Update) -> str:
    value = update.value
    if isinstance(value, Workload):
        return value.uid
    if isinstance(value, Authorization):
        return f"{value.namespace}/{value.name}"
    return str(value.key)
