"""Every table, as the newest migration leaves it (docs/protocol/ledger.md names what is in them).

A test compares these with what the migrations make: whoever changes a table here adds a migration.
No table has room for a key, a token or a certificate request.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

from controlplane.store.columns import Certificates, Moment, der, identifier, identity, name

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _chained() -> tuple[Column[object], ...]:
    """Return the columns that tie a row of the ledger to the one before it."""
    return (
        Column("replica_id", name(), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("entry_id", identifier(), nullable=False),
        Column("previous_mac", identifier(), nullable=False),
        Column("mac", identifier(), nullable=False),
    )


issued_certificate: Final = Table(
    "issued_cert",
    metadata,
    *_chained(),
    Column("authority_id", identifier(), nullable=False),
    Column("serial", identifier(), nullable=False),
    Column("spiffe_id", identity(), nullable=False),
    Column("cluster_id", name(), nullable=False),
    Column("caller_id", identity(), nullable=False),
    Column("caller_pod", name(), nullable=False),
    Column("caller_pod_uid", name(), nullable=False),
    Column("node", name(), nullable=False),
    Column("impersonated", Boolean, nullable=False),
    Column("spki_sha256", identifier(), nullable=False),
    Column("csr_sha256", identifier(), nullable=False),
    Column("certificate_sha256", identifier(), nullable=False),
    Column("key_type", identifier(), nullable=False),
    Column("not_before", Moment, nullable=False),
    Column("not_after", Moment, nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("peer_address", name(), nullable=False),
    Column("credential_id", name(), nullable=False),
    Column("request_id", name(), nullable=False),
    Column("key_seen_on", name(), nullable=False),
    PrimaryKeyConstraint("replica_id", "sequence"),
    UniqueConstraint("entry_id"),
    Index(None, "authority_id", "serial"),
    Index(None, "spiffe_id", "not_after"),
    Index(None, "node", "issued_at"),
    Index(None, "authority_id", "not_after"),
    Index(None, "issued_at"),
)

refused_request: Final = Table(
    "denied_request",
    metadata,
    *_chained(),
    Column("refused_at", Moment, nullable=False),
    Column("status", identifier(), nullable=False),
    Column("reason", identifier(), nullable=False),
    Column("caller_id", identity(), nullable=False),
    Column("caller_pod", name(), nullable=False),
    Column("caller_pod_uid", name(), nullable=False),
    Column("cluster_id", name(), nullable=False),
    Column("node", name(), nullable=False),
    Column("requested_id", identity(), nullable=False),
    Column("peer_address", name(), nullable=False),
    Column("credential_id", name(), nullable=False),
    Column("request_id", name(), nullable=False),
    PrimaryKeyConstraint("replica_id", "sequence"),
    UniqueConstraint("entry_id"),
    Index(None, "requested_id", "refused_at"),
    Index(None, "node", "refused_at"),
    Index(None, "refused_at"),
)

ledger_head: Final = Table(
    "ledger_head",
    metadata,
    Column("replica_id", name(), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("mac", identifier(), nullable=False),
)

ledger_segment: Final = Table(
    "ledger_segment",
    metadata,
    Column("replica_id", name(), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("first_sequence", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("mac", identifier(), nullable=False),
    Column("closed_at", Moment, nullable=False),
    Column("dropped_at", Moment),
    Column("signature", identifier(), nullable=False),
    PrimaryKeyConstraint("replica_id", "number"),
)

authority: Final = Table(
    "ca_authority",
    metadata,
    Column("authority_id", identifier(), primary_key=True),
    Column("trust_domain", name(), nullable=False),
    Column("tier", identifier(), nullable=False),
    Column("slot", identifier(), nullable=False),
    Column("parent_authority_id", identifier(), nullable=False),
    Column("status", identifier(), nullable=False),
    Column("certificate", der(), nullable=False),
    Column("chain", Certificates, nullable=False),
    Column("key_reference", name(), nullable=False),
    Column("key_type", identifier(), nullable=False),
    Column("not_before", Moment, nullable=False),
    Column("not_after", Moment, nullable=False),
    Column("prepared_at", Moment),
    Column("published_at", Moment),
    Column("activated_at", Moment),
    Column("retired_at", Moment),
    Column("tainted_at", Moment),
    Column("removed_at", Moment),
    Column("max_leaf_not_after", Moment),
    Column("created_by_replica", name(), nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Index(
        "uq_ca_authority_active",
        "trust_domain",
        "tier",
        unique=True,
        sqlite_where=text("status = 'ACTIVE'"),
        postgresql_where=text("status = 'ACTIVE'"),
    ),
)

authority_state: Final = Table(
    "ca_state",
    metadata,
    Column("trust_domain", name(), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("bundle_version", BigInteger, nullable=False),
    Column("active_root", identifier(), nullable=False),
    Column("active_intermediate", identifier(), nullable=False),
    Column("max_ttl_in_force", Float, nullable=False),
    Column("leader_id", name(), nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

authority_event: Final = Table(
    "ca_event",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("trust_domain", name(), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("authority_id", identifier(), nullable=False),
    Column("previous", String(16)),
    Column("status", String(16)),
    Column("actor", name(), nullable=False),
    Column("reason", name(), nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("happened_at", Moment, nullable=False),
    Index(None, "trust_domain", "generation"),
)

bundle_entry: Final = Table(
    "bundle_entry",
    metadata,
    Column("trust_domain", name(), nullable=False),
    Column("sha256", identifier(), nullable=False),
    Column("certificate", der(), nullable=False),
    Column("source", identifier(), nullable=False),
    Column("tainted", Boolean, nullable=False),
    Column("added_version", BigInteger, nullable=False),
    Column("removed_version", BigInteger),
    PrimaryKeyConstraint("trust_domain", "sha256"),
    ForeignKeyConstraint(["trust_domain"], ["ca_state.trust_domain"]),
)

replica: Final = Table(
    "replica",
    metadata,
    Column("replica_id", name(), primary_key=True),
    Column("generation_loaded", BigInteger, nullable=False),
    Column("bundle_version_loaded", BigInteger, nullable=False),
    Column("bundle_loaded_at", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
)

bundle_target: Final = Table(
    "bundle_target",
    metadata,
    Column("cluster", name(), nullable=False),
    Column("kind", identifier(), nullable=False),
    Column("name", name(), nullable=False),
    Column("bundle_version_written", BigInteger, nullable=False),
    Column("written_at", Moment, nullable=False),
    Column("error", name(), nullable=False),
    PrimaryKeyConstraint("cluster", "kind", "name"),
)

leadership: Final = Table(
    "leadership",
    metadata,
    Column("election", identifier(), primary_key=True),
    Column("holder", name(), nullable=False),
    Column("instance", identifier(), nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("expires_at", Moment, nullable=False),
)

fleet_replica: Final = Table(
    "fleet_replica",
    metadata,
    Column("replica_id", name(), primary_key=True),
    Column("seen_at", Moment, nullable=False),
)

connection: Final = Table(
    "connection",
    metadata,
    Column("replica_id", name(), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("detail", String, nullable=False),
    PrimaryKeyConstraint("replica_id", "number"),
)

commit_record: Final = Table(
    "commit_record",
    metadata,
    Column("replica_id", name(), nullable=False),
    Column("instance", identifier(), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("committed_at", Moment, nullable=False),
    Column("detail", String, nullable=False),
    PrimaryKeyConstraint("replica_id", "instance", "number"),
    Index(None, "committed_at"),
)
