"""A double of the API server that knows who writes, when, and who leads then.

Who asks is told by the bearer token, one for each process. A test can be called for every write
before it is carried out, to end the process that asks for it right there.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web

from controlplane.store.secret_ledger_key import NAME as LEDGER_KEY
from tests.support.kubernetes_api import KubernetesApi
from tests.support.replicas import ELECTIONS

LEASE = ("istio-system", "istiod-lite-ca")
_READS = frozenset({"GET", "HEAD"})


class Written(NamedTuple):
    """A write: ``at`` is when it arrived, ``holder`` who held the Lease when it was carried out.

    ``makes`` is the name of what it makes, "" where there is something already.
    """

    at: float
    who: str
    path: str
    status: int
    holder: str
    makes: str

    @property
    def is_lease(self) -> bool:
        """Whether it is about our own Lease, or makes one."""
        return self.path.endswith(("/leases", f"/leases/{LEASE[1]}"))

    @property
    def is_renewal(self) -> bool:
        """Whether it is about an election."""
        return "/leases" in self.path or self.path.rpartition("/")[2] in ELECTIONS


@dataclass
class WitnessedApi(KubernetesApi):
    written: list[Written] = field(default_factory=list)
    before_write: Callable[[str, str], Awaitable[None]] | None = None
    """Called with who writes and the path."""
    unanswered: str = ""
    """Whose questions about Leases get no answer."""

    @property
    def holder(self) -> str:
        """Return who holds the Lease, without what makes each process another one."""
        lease = self.objects.get("leases", LEASE)
        return "" if lease is None else lease["spec"]["holderIdentity"].rpartition("_")[0]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        who = request.headers.get("authorization", "").partition(" ")[2]
        while who and who == self.unanswered and "/leases" in request.path:  # noqa: ASYNC110 - until it is told otherwise
            await asyncio.sleep(0.05)
        if request.method in _READS or request.path.endswith("tokenreviews"):
            return await super()._serve(request)
        at = asyncio.get_running_loop().time()
        # Read now: whoever asked may be gone when it is carried out.
        body = await request.read()
        makes = json.loads(body)["metadata"]["name"] if request.method == "POST" else ""
        if self.before_write is not None:
            await self.before_write(who, request.path)
        holder = self.holder
        response = await super()._serve(request)
        self.written.append(Written(at, who, request.path, response.status, holder, makes))
        return response

    def writes(self, since: int = 0) -> list[Written]:
        """Return what was written, elections left out."""
        return [each for each in self.written[since:] if each.status < 300 and not each.is_renewal]

    def out_of_turn(self, deadline: float) -> list[Written]:
        """Return the writes of processes whose own lead had ended: none is right.

        The key of the ledger is made by whoever comes first.

        A lead lasts ``deadline`` seconds from before it was asked for, so less from when that
        arrived here.
        """
        renewed: dict[str, float] = {}
        wrong = []
        for each in sorted(self.written, key=lambda written: written.at):
            if each.status >= 300 or each.makes == LEDGER_KEY:
                continue
            if each.is_lease:
                renewed[each.who] = each.at
                continue
            is_late = each.at > renewed.get(each.who, float("-inf")) + deadline
            if is_late or (each.holder != each.who and not each.is_renewal):
                wrong.append(each)
        return wrong
