"""What a Lease says about who leads: JSON of ``coordination.k8s.io/v1`` in, a record out, and back.

``lease`` decides with it. Whatever else the object holds is kept as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controlplane.cluster.errors import ClusterAnswerError


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who holds a Lease. ``holder`` is "" once it was given up; ``transitions`` counts holders.

    Two records are equal while nobody wrote the Lease in between, because every write changes
    ``revision``.
    """

    revision: str
    holder: str
    seconds: float
    transitions: int
    document: Mapping[str, Any]

    def held_by(self, holder: str, *, seconds: float, transitions: int, now: datetime) -> bytes:
        """Return the object with which ``holder`` takes or renews this Lease, at this revision."""
        spec = dict(self.document.get("spec") or {})
        spec |= {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(seconds)),
            "renewTime": _moment(now),
            "leaseTransitions": transitions,
        }
        if holder and holder != self.holder:
            spec["acquireTime"] = _moment(now)
        return json.dumps({**self.document, "spec": spec}).encode()


def read_lease(answer: bytes) -> LeaseRecord:
    """Return what a Lease says.

    Raises:
        ClusterAnswerError: it is none.
    """
    try:
        document: dict[str, Any] = json.loads(answer)
        spec = document.get("spec") or {}
        return LeaseRecord(
            revision=str(document["metadata"]["resourceVersion"]),
            holder=str(spec.get("holderIdentity") or ""),
            seconds=float(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
            document=document,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ClusterAnswerError("the answer is not a Lease") from error


def new_lease(
    namespace: str, name: str, holder: str, *, seconds: float, transitions: int, now: datetime
) -> bytes:
    """Return a Lease that ``holder`` holds from its beginning."""
    return json.dumps(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": max(1, round(seconds)),
                "acquireTime": _moment(now),
                "renewTime": _moment(now),
                "leaseTransitions": transitions,
            },
        }
    ).encode()


def _moment(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
