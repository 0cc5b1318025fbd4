"""What a lock of istiod's says about who holds it: JSON in, a record out, and back.

istiod keeps a lock in an annotation of a ConfigMap or in a Lease. ``election_locks`` decides with
the records (docs/protocol/leadership.md LK-7). Whatever else an object holds is kept as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from controlplane.cluster.errors import ClusterAnswerError

_RECORD: Final = "control-plane.alpha.kubernetes.io/leader"
_LEASE_KEY: Final = "leader.istio.io/holder-key"
_LONGEST_GIVEN_UP: Final = 1


class LockKind(StrEnum):
    """What a lock is kept in: the plural in the API's paths."""

    CONFIG_MAP = "configmaps"
    LEASE = "leases"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ElectionLock:
    """One lock. ``has_key``: its holder's revision counts, for the default one takes it away."""

    kind: LockKind
    name: str
    has_key: bool = False

    def path(self, namespace: str) -> str:
        """Return its path on the API server."""
        group = "/apis/coordination.k8s.io/v1" if self.kind is LockKind.LEASE else "/api/v1"
        return f"{group}/namespaces/{namespace}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRecord:
    """Who holds a lock. ``holder`` is "" where nobody does, ``key`` is the holder's revision.

    ``revision`` is the object's, and "" of a lock that was not made yet.
    """

    lock: ElectionLock
    revision: str
    holder: str
    key: str
    seconds: float
    transitions: int
    acquired: str
    document: Mapping[str, Any]

    def held_by(self, holder: str, *, key: str, seconds: float, now: datetime) -> bytes:
        """Return the object with which ``holder`` takes or renews this lock, at this revision."""
        is_new = holder != self.holder
        return self._object(
            holder=holder,
            key=key if self.lock.has_key else "",
            seconds=max(_LONGEST_GIVEN_UP, round(seconds)),
            transitions=self.transitions + (1 if is_new and self.revision else 0),
            acquired="" if is_new else self.acquired,
            now=now,
        )

    def given_up(self, *, now: datetime) -> bytes:
        """Return the object with which its holder gives this lock up, at this revision."""
        return self._object(
            holder="",
            key="",
            seconds=_LONGEST_GIVEN_UP,
            transitions=self.transitions,
            acquired="",
            now=now,
        )

    def _object(
        self,
        *,
        holder: str,
        key: str,
        seconds: int,
        transitions: int,
        acquired: str,
        now: datetime,
    ) -> bytes:
        metadata = dict(self.document["metadata"])
        annotations = dict(metadata.get("annotations") or {})
        moment = _moment(self.lock.kind, now)
        record: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": acquired or moment,
            "renewTime": moment,
        }
        document = {**self.document, "metadata": metadata}
        if self.lock.kind is LockKind.LEASE:
            annotations.pop(_LEASE_KEY, None)
            if key:
                annotations[_LEASE_KEY] = key
            spec = dict(self.document.get("spec") or {})
            document["spec"] = spec | record | {"leaseTransitions": transitions}
        else:
            record |= {"holderKey": key, "leaderTransitions": transitions}
            annotations[_RECORD] = json.dumps(record, separators=(",", ":"))
        metadata["annotations"] = annotations
        return json.dumps(document).encode()


def absent_lock(lock: ElectionLock, namespace: str) -> LockRecord:
    """Return the record of a lock that is not there: nobody's, and made by being taken."""
    is_lease = lock.kind is LockKind.LEASE
    return LockRecord(
        lock=lock,
        revision="",
        holder="",
        key="",
        seconds=0,
        transitions=0,
        acquired="",
        document={
            "apiVersion": "coordination.k8s.io/v1" if is_lease else "v1",
            "kind": "Lease" if is_lease else "ConfigMap",
            "metadata": {"namespace": namespace, "name": lock.name},
        },
    )


def read_lock(lock: ElectionLock, found: bytes | Mapping[str, Any]) -> LockRecord:
    """Return what a lock says: an answer of the API server, or one of ``read_leases``.

    Raises:
        ClusterAnswerError: it is none, or cannot be read.
    """
    try:
        return _record(lock, json.loads(found) if isinstance(found, bytes) else found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ClusterAnswerError(f"{lock} is not a lock") from error


def read_leases(answer: bytes) -> Mapping[str, Mapping[str, Any]]:
    """Return the Leases of a list by name, each as if it had been asked for alone.

    Raises:
        ClusterAnswerError: it is no such list.
    """
    head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    try:
        return {
            str(item["metadata"]["name"]): {**item, **head} for item in json.loads(answer)["items"]
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ClusterAnswerError("the answer is no list of Leases") from error


def _record(lock: ElectionLock, document: Mapping[str, Any]) -> LockRecord:
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    if lock.kind is LockKind.LEASE:
        record = document.get("spec") or {}
        key, transitions = annotations.get(_LEASE_KEY), record.get("leaseTransitions")
    else:
        # A ConfigMap without the annotation is a lock that nobody ever held.
        record = json.loads(annotations.get(_RECORD, "{}"))
        key, transitions = record.get("holderKey"), record.get("leaderTransitions")
    return LockRecord(
        lock=lock,
        revision=str(metadata["resourceVersion"]),
        holder=str(record.get("holderIdentity") or ""),
        key=str(key or ""),
        seconds=float(record.get("leaseDurationSeconds") or 0),
        transitions=int(transitions or 0),
        acquired=str(record.get("acquireTime") or ""),
        document=document,
    )


def _moment(kind: LockKind, now: datetime) -> str:
    """Return a time the way the API keeps it in a Lease, or istiod in its annotation."""
    return now.strftime(f"%Y-%m-%dT%H:%M:%S{'.%f' if kind is LockKind.LEASE else ''}Z")
