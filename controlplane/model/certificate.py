"""What is remembered of certificates: plain values of the ledger and of the authorities' journal.

In: issuance, which says what it issued or refused, and the authorities, which say what they are.
Out: values that ``controlplane.store`` writes and reads. None of them can hold a key, a token or
a certificate request: those are named by hashes and references only.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """One certificate that was signed: a row of the ledger (docs/protocol/ledger.md LG-1).

    Times are aware. ``serial``, ``authority_id`` (key identifier of the signer) and the hashes
    are lower-case hexadecimal. ``key_seen_on`` names another node that holds a certificate for
    the same key, and is empty in all honest cases.
    """

    authority_id: str
    serial: str
    spiffe_id: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    spki_sha256: str
    csr_sha256: str
    certificate_sha256: str
    key_type: str
    impersonated: bool
    caller_id: str
    caller_pod: str = ""
    caller_pod_uid: str = ""
    cluster_id: str = ""
    node: str = ""
    peer_address: str = ""
    credential_id: str = ""
    request_id: str = ""
    key_seen_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """One request that was refused, with the reason its caller is never told.

    ``status`` is the name of the gRPC status answered, ``reason`` a stable code of ours,
    ``requested_id`` what was asked for as the caller wrote it (stored escaped and cut).
    """

    refused_at: datetime
    status: str
    reason: str
    caller_id: str = ""
    caller_pod: str = ""
    caller_pod_uid: str = ""
    cluster_id: str = ""
    node: str = ""
    requested_id: str = ""
    peer_address: str = ""
    credential_id: str = ""
    request_id: str = ""


class AuthorityTier(StrEnum):
    """Where an authority stands in its chain."""

    ROOT = "root"
    INTERMEDIATE = "intermediate"
    EXTERNAL = "external"


class AuthorityStatus(StrEnum):
    """How far an authority has come in its life."""

    PREPARED = "PREPARED"
    PUBLISHED = "PUBLISHED"
    ACTIVE = "ACTIVE"
    RETIRING = "RETIRING"
    REMOVED = "REMOVED"
    FAILED = "FAILED"
    TAINTED = "TAINTED"


class BundleSource(StrEnum):
    """Why a root is trusted."""

    SELF = "self"
    MESH_CONFIG = "mesh_config"
    SPIFFE_URL = "spiffe_url"
    PLUGGED = "plugged"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRecord:
    """One authority as the journal keeps it.

    ``certificate`` and the elements of ``chain`` (above it, nearest first) are DER.
    ``authority_id`` is the key identifier in lower-case hexadecimal. ``key_reference`` says where
    the key is kept, never what it is. ``max_leaf_not_after`` is the latest end of what it signed.
    """

    trust_domain: str
    tier: AuthorityTier
    slot: str
    authority_id: str
    status: AuthorityStatus
    certificate: bytes
    key_reference: str
    key_type: str
    not_before: datetime
    not_after: datetime
    parent_authority_id: str = ""
    chain: tuple[bytes, ...] = ()
    prepared_at: datetime | None = None
    published_at: datetime | None = None
    activated_at: datetime | None = None
    retired_at: datetime | None = None
    tainted_at: datetime | None = None
    removed_at: datetime | None = None
    max_leaf_not_after: datetime | None = None
    created_by_replica: str = ""
    fencing_token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityState:
    """Where the authorities of one trust domain stand together.

    ``generation`` rises with every transition, ``bundle_version`` with every change of the roots.
    ``max_ttl_in_force`` is the longest leaf lifetime allowed, in seconds, since the previous
    bundle version. The fencing token is that of the leader who made the last transition.
    """

    trust_domain: str
    generation: int
    bundle_version: int
    fencing_token: int
    leader_id: str
    updated_at: datetime
    active_root: str = ""
    active_intermediate: str = ""
    max_ttl_in_force: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityEvent:
    """One step an authority took: from which status to which, by whose doing and why."""

    trust_domain: str
    generation: int
    authority_id: str
    previous: AuthorityStatus | None
    status: AuthorityStatus | None
    actor: str
    reason: str
    fencing_token: int
    happened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """One trusted root: part of every bundle from ``added_version`` until ``removed_version``."""

    trust_domain: str
    sha256: str
    certificate: bytes
    source: BundleSource
    added_version: int
    tainted: bool = False
    removed_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica has loaded; ``bundle_loaded_at`` is when it took up its bundle version."""

    replica_id: str
    generation_loaded: int
    bundle_version_loaded: int
    bundle_loaded_at: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleTarget:
    """One place the bundle is written to; ``error`` is empty when the last write went well."""

    cluster: str
    kind: str
    name: str
    bundle_version_written: int
    written_at: datetime
    error: str = ""
