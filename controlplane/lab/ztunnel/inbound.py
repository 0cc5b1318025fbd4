"""Connections that are open at a node: accepted once, judged again whenever policies change."""

from dataclasses import dataclass

from controlplane.lab.ztunnel.policies import Connection, Verdict, evaluate
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """An open connection and its workload as it was when the connection was accepted."""

    workload: Workload
    connection: Connection


class InboundConnections:
    """The open connections of one node."""

    def __init__(self, state: MeshState) -> None:
        self._state = state
        self._open: list[Inbound] = []

    @property
    def open(self) -> tuple[Inbound, ...]:
        """Return what is open, the oldest first."""
        return tuple(self._open)

    def accept(self, workload: Workload, connection: Connection) -> Verdict:
        """Judge a new connection and keep it open if it is allowed."""
        verdict = evaluate(self._state, workload, connection)
        if verdict.allowed:
            self._open.append(Inbound(workload=workload, connection=connection))
        return verdict

    def policies_changed(self) -> tuple[Inbound, ...]:
        """Judge everything open again and return what had to be closed (ZT-49).

        To be called after each applied response of Authorization resources. The workload is the
        one of the time of acceptance, so that a new list of policies alone closes nothing.
        """
        closed = tuple(
            inbound
            for inbound in self._open
            if not evaluate(self._state, inbound.workload, inbound.connection).allowed
        )
        self._open = [inbound for inbound in self._open if inbound not in closed]
        return closed
