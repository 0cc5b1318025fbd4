"""Certificates: what was issued and refused, and who signs. Public facts only, never keys."""

from datetime import datetime

from controlplane.admin.values.common import Value


class CertificateValue(Value):
    """One row of the ledger: a certificate that was issued, or a request that was refused.

    ``outcome`` is issued or refused. Who asked is left empty for viewers of another namespace.
    """

    outcome: str
    at: datetime
    replica: str
    sequence: int
    identity: str
    status: str
    reason: str
    authority: str
    serial: str
    not_before: datetime | None
    not_after: datetime | None
    key_type: str
    key_sha256: str
    certificate_sha256: str
    impersonated: bool
    caller: str
    pod: str
    node: str
    peer: str
    cluster: str


class AuthorityValue(Value):
    """One authority: a certificate that signs or is trusted. ``pem`` is its certificate."""

    id: str
    tier: str
    slot: str
    status: str
    key_type: str
    parent: str
    not_before: datetime
    not_after: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    max_leaf_not_after: datetime | None
    sha256: str
    pem: str


class RootValue(Value):
    """One trusted root and the bundle versions that hold it."""

    sha256: str
    source: str
    tainted: bool
    added_version: int
    removed_version: int | None


class AuthoritiesValue(Value):
    """Everything about authorities of one trust domain, oldest first."""

    trust_domain: str
    generation: int
    bundle_version: int
    active_root: str
    active_intermediate: str
    authorities: tuple[AuthorityValue, ...]
    roots: tuple[RootValue, ...]
