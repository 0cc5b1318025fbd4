"""Which locks of istiod's guard what we write: a revision in, locks out (LK-1).

Not among them: what istiod writes without a lock (gateway classes, the bundle in its webhook
configurations), and locks for what we never write (Ingress status, analysis, taints of nodes).
"""

from collections.abc import Iterable
from typing import Final

from controlplane.cluster.lock_record import ElectionLock, LockKind

DEFAULT_REVISION: Final = "default"
"""What an istiod without a revision calls itself in its locks."""

CONFIG_MAP_LOCKS: Final = tuple(
    ElectionLock(kind=LockKind.CONFIG_MAP, name=name, has_key=True)
    for name in (
        "istio-namespace-controller-election",  # root certificates in namespaces
        "istio-gateway-status-leader",  # conditions of gateways, before the Lease by revision
        "istio-ip-autoallocate",
    )
)
_CONDITIONS: Final = ElectionLock(kind=LockKind.LEASE, name="istio-status-leader", has_key=True)
_BY_REVISION: Final = ("istio-gateway-deployment-", "istio-gateway-status-leader-")


def lease_locks(revision: str, existing: Iterable[str]) -> tuple[ElectionLock, ...]:
    """Return the locks in Leases: of ``revision``, and of others whose Lease is ``existing``.

    A gateway without a revision label belongs to whichever istiod is the default one, so one of
    another revision may write what we write.
    """
    names = {f"{prefix}{revision}" for prefix in _BY_REVISION}
    names |= {name for name in existing if name.startswith(_BY_REVISION)}
    by_revision = (ElectionLock(kind=LockKind.LEASE, name=name) for name in sorted(names))
    return (_CONDITIONS, *by_revision)


def leases_path(namespace: str) -> str:
    """Return the path under which all Leases of a namespace are listed."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/{LockKind.LEASE}"
