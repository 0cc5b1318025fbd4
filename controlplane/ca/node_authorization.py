"""May a node proxy hold this certificate: a caller and an identity in, silence or a refusal out.

A certificate is given for identities that run on the caller's own node, and for no others; pods
that the watch has yet to deliver are waited for. docs/protocol/authentication.md NA-1 to NA-13.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from controlplane.authentication.caller import Caller
from controlplane.ca.errors import ImpersonationDeniedError, UnavailableError
from controlplane.clock import Clock
from controlplane.model.identity import Identity
from controlplane.model.names import Name
from controlplane.model.resident import NodeAccount, Resident
from controlplane.snapshots.residents import ResidentKey, Residents

UNTRUSTED: Final = "untrusted-node-account"
UNBOUND: Final = "unbound-token"
PROTECTED: Final = "protected-account"
UNKNOWN_CLUSTER: Final = "cluster-without-residents"
UNKNOWN_POD: Final = "caller-pod-unknown"
OTHER_UID: Final = "caller-pod-replaced"
OTHER_ACCOUNT: Final = "caller-account-differs"
UNSCHEDULED: Final = "caller-pod-unscheduled"
CALLER_ENDED: Final = "caller-pod-ended"
OTHER_NODE: Final = "token-of-another-node"
NOT_ON_NODE: Final = "identity-not-on-node"
NO_LIVE_POD: Final = "identity-ended-on-node"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Times are seconds.

    ``trusted`` are the accounts of node proxies, ``control_planes`` those that no node proxy may
    speak for. ``ended_for``: how long an ended pod still counts. ``patience``: how long a pod that
    is not known yet is waited for, by ``waiting_per_caller`` requests of one pod at a time and
    ``waiting`` in all; any more are refused at once.
    """

    trusted: frozenset[Name] = frozenset()
    control_planes: frozenset[Name] = frozenset()
    ended_for: float = 60.0
    patience: float = 2.0
    waiting_per_caller: int = 16
    waiting: int = 512


@dataclass(frozen=True, slots=True)
class _Denial:
    """Why not, and what would have to change for the answer to; None when nothing would help."""

    reason: str
    awaits: ResidentKey | None = None


class ResidentAuthorizer:
    """Decides by the committed residents of each cluster, by resolved cluster id."""

    def __init__(
        self, residents: Mapping[str, Residents], settings: NodeSettings, clock: Clock
    ) -> None:
        self._residents = dict(residents)
        self._settings = settings
        self._clock = clock
        self._waiting: Counter[str] = Counter()

    async def authorize(self, caller: Caller, identity: Identity) -> None:
        """Return if ``caller`` may hold a certificate of ``identity``.

        The trust domain of the identity is not looked at here.

        Raises:
            ImpersonationDeniedError: it may not.
            UnavailableError: the pods of its cluster are not loaded yet.
        """
        self._check_accounts(caller, Name(identity.namespace, identity.service_account))
        residents = self._residents.get(caller.cluster)
        if residents is None:
            raise ImpersonationDeniedError(UNKNOWN_CLUSTER)
        if not residents.is_loaded:
            raise UnavailableError("pods are not loaded", reason_code="residents-not-loaded")
        denial = self._judge(residents, caller, identity)
        if denial is None:
            return
        if denial.awaits is None:
            raise ImpersonationDeniedError(denial.reason)
        with self._turn(caller, denial):
            await self._wait(residents, caller, identity, denial)

    def _check_accounts(self, caller: Caller, target: Name) -> None:
        """Check what no pod can change."""
        settings = self._settings
        if caller.account not in settings.trusted:
            raise ImpersonationDeniedError(UNTRUSTED)
        if not caller.is_bound_to_pod:
            raise ImpersonationDeniedError(UNBOUND)
        others: Collection[Name] = settings.trusted - {caller.account}
        if target in settings.control_planes or target in others:
            raise ImpersonationDeniedError(PROTECTED)

    def _judge(self, residents: Residents, caller: Caller, identity: Identity) -> _Denial | None:
        pod = residents.pod(caller.pod)
        if pod is None or pod.uid != caller.pod_uid:
            # A pod that was made again under its name may not be known yet.
            return _Denial(UNKNOWN_POD if pod is None else OTHER_UID, caller.pod)
        denial = self._judge_pod(pod, caller)
        if denial is not None:
            return denial
        place = NodeAccount(pod.node, identity.namespace, identity.service_account)
        found = residents.at(place)
        if any(map(self._counts, found)):
            return None
        return _Denial(NO_LIVE_POD if found else NOT_ON_NODE, place)

    def _judge_pod(self, pod: Resident, caller: Caller) -> _Denial | None:
        if pod.service_account != caller.service_account:
            return _Denial(OTHER_ACCOUNT)
        if not self._counts(pod):
            return _Denial(CALLER_ENDED)
        if not pod.node:
            return _Denial(UNSCHEDULED, caller.pod)
        if caller.node_name and caller.node_name != pod.node:
            return _Denial(OTHER_NODE)
        return None

    def _counts(self, pod: Resident) -> bool:
        return pod.justifies_certificates(self._clock.now().timestamp(), self._settings.ended_for)

    async def _wait(
        self, residents: Residents, caller: Caller, identity: Identity, denial: _Denial
    ) -> None:
        until = self._clock.monotonic() + self._settings.patience
        found: _Denial | None = denial
        while found is not None:
            left = until - self._clock.monotonic()
            if (
                found.awaits is None
                or left <= 0
                or not await residents.wait_for(found.awaits, left)
            ):
                raise ImpersonationDeniedError(found.reason)
            found = self._judge(residents, caller, identity)

    @contextmanager
    def _turn(self, caller: Caller, denial: _Denial) -> Iterator[None]:
        """Hold one of the bounded places of those who wait."""
        key = f"{caller.cluster}/{caller.pod_uid}"
        settings = self._settings
        if (
            self._waiting.total() >= settings.waiting
            or self._waiting[key] >= settings.waiting_per_caller
        ):
            raise ImpersonationDeniedError(denial.reason)
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
