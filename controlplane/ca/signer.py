"""What signs: one immutable snapshot of the active authority, swapped whole when it changes.

The authority's side makes snapshots; issuance takes one per request and uses nothing else, so a
chain never mixes two authorities.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerSnapshot:
    """Everything one signature needs. All PEM texts end with a line feed.

    ``certificate`` and ``key`` sign; ``chain`` is one PEM certificate an element: the signing
    certificate first, then those above it, roots left out (a single-tier authority has an empty
    chain). ``bundle`` is every trusted root, concatenated. ``authority_id`` is the key identifier
    of ``certificate`` in lower-case hexadecimal. ``not_after`` is the earliest end of
    ``certificate`` and whatever it hangs on: no leaf outlives it. ``leaf_ttl_cap`` narrows the
    lifetime of leaves in seconds while a root is on its way in; None does not.
    """

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes = field(repr=False)
    chain: tuple[str, ...]
    bundle: str
    generation: int
    trust_domain: str
    not_after: datetime
    authority_id: str
    leaf_ttl_cap: float | None = None


class SignerSource(Protocol):
    """Where issuance asks for the snapshot of the moment; never waits."""

    def current(self) -> SignerSnapshot | None:
        """Return the snapshot to sign with; None when there is none fit to sign."""
        ...

    def unfit_reason(self) -> str:
        """Return why ``current`` returned None, in words for operators (never for callers)."""
        ...
