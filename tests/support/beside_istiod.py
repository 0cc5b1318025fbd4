"""Replicas of ours and an istiod in one cluster in memory, on clocks that disagree."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.cluster.client import ClusterClient
from controlplane.cluster.election_locks import ElectionLocks
from controlplane.cluster.lease import LeaseLeadership
from controlplane.cluster.write_lead import WriteLead
from tests.support.authority_stores import START, ToldClock
from tests.support.cluster_memory import ClusterMemory
from tests.support.istiod_elector import Istiod


class RestingClock(ToldClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


@dataclass
class OurReplica:
    lease: LeaseLeadership
    locks: ElectionLocks
    lead: WriteLead

    @property
    def writes(self) -> bool:
        return self.lead.seconds_left > 0

    async def campaign(self) -> None:
        await self.lease.campaign()
        await self.lead.campaign()


@dataclass
class BesideIstiod:
    cluster: ClusterMemory = field(default_factory=ClusterMemory)
    clock: ToldClock = field(default_factory=RestingClock)
    istiod_clock: ToldClock = field(default_factory=lambda: ToldClock(START + timedelta(days=400)))

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)
        self.istiod_clock.advance(seconds=seconds)

    def istiod(
        self,
        name: str = "istiod-a",
        *,
        revision: str = "default",
        default: str = "",
        client: ClusterClient | None = None,
    ) -> Istiod:
        client = client or self.cluster
        return Istiod(client, name, self.istiod_clock, revision=revision, default=default)

    def replica(
        self, name: str = "r0", *, revision: str = "", client: ClusterClient | None = None
    ) -> OurReplica:
        client = client or self.cluster
        lease = LeaseLeadership(
            client,
            namespace="istio-system",
            name="istiod-lite",
            replica_id=name,
            clock=self.clock,
        )
        locks = ElectionLocks(
            client,
            namespace="istio-system",
            identity="istiod-lite",
            revision=revision,
            clock=self.clock,
        )
        return OurReplica(lease, locks, WriteLead(lease, locks, clock=self.clock))
