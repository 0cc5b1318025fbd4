"""Who keeps an address that a name leads to, for objects that have one address each.

Objects and what addresses they state come in; who keeps the address of one that states none goes
out, and a Problem for whoever does not. Source: docs/protocol/expansion.md EX-2, EX-3.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from controlplane.dataflow import Collection, Fetch, Index
from controlplane.manifests.metadata import Manifest
from controlplane.mesh.expansion_addresses import AddressRange
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.names import Name
from controlplane.model.network import address_from_text, text_from_address
from controlplane.model.problem import Problem, Severity

M = TypeVar("M", bound=Manifest)

Stated = Callable[[M], Iterable[str] | None]
"""What addresses an object states; None where its name decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressClaims(Generic[M]):
    """The addresses that objects of one kind have or, stating none, are led to by their names."""

    addresses: AddressRange
    stated: Stated[M]
    claimed: Index[bytes, Name, M]

    def address(self, manifest: M) -> bytes:
        """Return the packed address that the name of ``manifest`` leads to."""
        return self.addresses.address(str(manifest.key))

    def is_kept(self, fetch: Fetch, manifest: M) -> bool:
        """Return whether ``manifest``, which states no address, keeps what its name leads to."""
        return self._holder(fetch, manifest).key == manifest.key

    def collision(
        self, fetch: Fetch, manifest: M, *, outcome: str, field: str
    ) -> Mapping[ProblemKey, Problem]:
        """Return the problem of ``manifest`` where another keeps its address.

        ``outcome`` says what becomes of it, ``field`` where it could state another.
        """
        if self.stated(manifest) is not None:
            return {}
        kept_by = self._holder(fetch, manifest)
        if kept_by.key == manifest.key:
            return {}
        address = text_from_address(self.address(manifest))
        problem = Problem(
            severity=Severity.ERROR,
            code="expansion.address-collision",
            message=f"its address {address} is kept by {kept_by.reference}: {outcome}",
            object=manifest.reference,
            field=field,
        )
        return {problem_key(problem): problem}

    def _holder(self, fetch: Fetch, manifest: M) -> M:
        """Return who keeps the address: who states it, else the smallest name."""
        claimants = fetch.where(self.claimed, self.address(manifest))
        stating = (each for each in claimants if self.stated(each) is not None)
        return next(stating, claimants[0])


def build_address_claims(
    manifests: Collection[Name, M], addresses: AddressRange, stated: Stated[M]
) -> AddressClaims[M]:
    """Return the claims of ``manifests`` on ``addresses``."""

    def claims(manifest: M) -> tuple[bytes, ...]:
        texts = stated(manifest)
        if texts is None:
            return (addresses.address(str(manifest.key)),)
        packed = (address_from_text(text) for text in texts)
        return tuple(address for address in packed if address is not None)

    return AddressClaims(
        addresses=addresses,
        stated=stated,
        claimed=manifests.index("claimed address", claims),
    )
