"""Whether a connection is let in: state, workload and connection in, a ``Verdict`` out.

The order of questions is that of docs/protocol/ztunnel.md ZT-40: any DENY that matches, then
whether there is any ALLOW at all, then any ALLOW that matches. Dry-run policies only report.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from controlplane.lab.ztunnel.authorization import (
    Action,
    Authorization,
    Match,
    ServiceAccountMatch,
    TextMatch,
)
from controlplane.lab.ztunnel.network import IpAddress, IpPrefix
from controlplane.lab.ztunnel.state import MeshState
from controlplane.lab.ztunnel.workload import Workload

_SPIFFE = "spiffe://"
_IDENTITY_PARTS = 5
_Wanted = TypeVar("_Wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An inbound connection at the destination's node.

    ``identity`` is the peer's SPIFFE id, "" for plaintext. ``destination_port`` is the port of
    the workload, not that of a service.
    """

    source_ip: IpAddress
    destination_ip: IpAddress
    destination_port: int
    identity: str = ""

    @property
    def principal(self) -> str:
        """Return the identity without its scheme, "" for none or for another scheme."""
        return self.identity.removeprefix(_SPIFFE) if self.identity.startswith(_SPIFFE) else ""

    @property
    def account(self) -> ServiceAccountMatch | None:
        """Return namespace and service account of the identity, None without one."""
        parts = self.principal.split("/")
        if len(parts) != _IDENTITY_PARTS or parts[1] != "ns" or parts[3] != "sa":
            return None
        return ServiceAccountMatch(parts[2], parts[4])


class Reason(Enum):
    """Why a connection is let in or refused."""

    DENIED = "denied by a policy"
    NO_ALLOW_POLICY = "no ALLOW policy covers the workload"
    ALLOWED = "allowed by a policy"
    NOTHING_ALLOWS = "ALLOW policies cover the workload and none matches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome: ``policy`` is the resource name that decided, "" when none did.

    ``unknown`` are listed policies that are not held, ``dry_run`` those that would have matched.
    """

    allowed: bool
    reason: Reason
    policy: str = ""
    unknown: tuple[str, ...] = ()
    dry_run: tuple[str, ...] = ()


def evaluate(state: MeshState, workload: Workload, connection: Connection) -> Verdict:
    """Return the verdict on a connection to the workload.

    Of several policies that decide alike the one with the smallest resource name is reported.
    """
    covering = state.policies.covering(workload)
    matching = {
        name: policy for name, policy in covering.held.items() if matches(policy, connection)
    }
    enforced = {name: policy for name, policy in matching.items() if not policy.dry_run}
    denying = _first(enforced, Action.DENY)
    allowing = _first(enforced, Action.ALLOW)
    has_allow = any(
        policy.action is Action.ALLOW and not policy.dry_run for policy in covering.held.values()
    )
    if denying:
        reason, policy = Reason.DENIED, denying
    elif not has_allow:
        reason, policy = Reason.NO_ALLOW_POLICY, ""
    elif allowing:
        reason, policy = Reason.ALLOWED, allowing
    else:
        reason, policy = Reason.NOTHING_ALLOWS, ""
    return Verdict(
        allowed=reason in (Reason.NO_ALLOW_POLICY, Reason.ALLOWED),
        reason=reason,
        policy=policy,
        unknown=covering.unknown,
        dry_run=tuple(name for name, policy in matching.items() if policy.dry_run),
    )


def matches(policy: Authorization, connection: Connection) -> bool:
    """Return whether some group of the policy has only rules that hold."""
    return any(
        all(
            not rule.matches or any(_match_holds(match, connection) for match in rule.matches)
            for rule in group.rules
        )
        for group in policy.groups
    )


def _first(policies: dict[str, Authorization], action: Action) -> str:
    return next((name for name, policy in policies.items() if policy.action is action), "")


def _match_holds(match: Match, connection: Connection) -> bool:
    if match.is_empty:
        return False
    account = connection.account
    namespace = account.namespace if account else ""
    return (
        _field(match.namespaces, match.not_namespaces, _text(namespace))
        and _field(
            match.service_accounts, match.not_service_accounts, lambda wanted: wanted == account
        )
        and _field(match.principals, match.not_principals, _text(connection.principal))
        and _field(match.source_ips, match.not_source_ips, _within(connection.source_ip))
        and _field(
            match.destination_ips, match.not_destination_ips, _within(connection.destination_ip)
        )
        and _field(
            match.destination_ports,
            match.not_destination_ports,
            lambda port: port == connection.destination_port,
        )
    )


def _field(
    wanted: Collection[_Wanted], unwanted: Collection[_Wanted], holds: Callable[[_Wanted], bool]
) -> bool:
    return (not wanted or any(map(holds, wanted))) and not any(map(holds, unwanted))


def _text(value: str) -> Callable[[TextMatch], bool]:
    return lambda wanted: value != "" and wanted.holds(value)


def _within(address: IpAddress) -> Callable[[IpPrefix], bool]:
    return lambda prefix: prefix.version == address.version and address in prefix
