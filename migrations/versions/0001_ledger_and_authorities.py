"""Ledger, authorities' journal, bundle, replicas and leadership.

Revision: 0001, the first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "bundle_target",
        sa.Column("cluster", sa.String(length=512), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("bundle_version_written", sa.BigInteger(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "kind", "name", name=op.f("pk_bundle_target")),
    )
    op.create_table(
        "ca_authority",
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("trust_domain", sa.String(length=512), nullable=False),
        sa.Column("tier", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("parent_authority_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.String(), nullable=False),
        sa.Column("key_reference", sa.String(length=512), nullable=False),
        sa.Column("key_type", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tainted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_leaf_not_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by_replica", sa.String(length=512), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("authority_id", name=op.f("pk_ca_authority")),
    )
    op.create_index(
        "uq_ca_authority_active",
        "ca_authority",
        ["trust_domain", "tier"],
        unique=True,
        sqlite_where=sa.text("status = 'ACTIVE'"),
        postgresql_where=sa.text("status = 'ACTIVE'"),
    )
    op.create_table(
        "ca_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("trust_domain", sa.String(length=512), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=16), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=True),
        sa.Column("actor", sa.String(length=512), nullable=False),
        sa.Column("reason", sa.String(length=512), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ca_event")),
    )
    op.create_index(
        op.f("ix_ca_event_trust_domain_generation"),
        "ca_event",
        ["trust_domain", "generation"],
        unique=False,
    )
    op.create_table(
        "ca_state",
        sa.Column("trust_domain", sa.String(length=512), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("bundle_version", sa.BigInteger(), nullable=False),
        sa.Column("active_root", sa.String(length=64), nullable=False),
        sa.Column("active_intermediate", sa.String(length=64), nullable=False),
        sa.Column("max_ttl_in_force", sa.Float(), nullable=False),
        sa.Column("leader_id", sa.String(length=512), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("trust_domain", name=op.f("pk_ca_state")),
    )
    op.create_table(
        "denied_request",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.String(length=64), nullable=False),
        sa.Column("previous_mac", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("caller_id", sa.String(length=2048), nullable=False),
        sa.Column("caller_pod", sa.String(length=512), nullable=False),
        sa.Column("caller_pod_uid", sa.String(length=512), nullable=False),
        sa.Column("cluster_id", sa.String(length=512), nullable=False),
        sa.Column("node", sa.String(length=512), nullable=False),
        sa.Column("requested_id", sa.String(length=2048), nullable=False),
        sa.Column("peer_address", sa.String(length=512), nullable=False),
        sa.Column("credential_id", sa.String(length=512), nullable=False),
        sa.Column("request_id", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", "sequence", name=op.f("pk_denied_request")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_denied_request_entry_id")),
    )
    op.create_index(
        op.f("ix_denied_request_node_refused_at"),
        "denied_request",
        ["node", "refused_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_denied_request_refused_at"), "denied_request", ["refused_at"], unique=False
    )
    op.create_index(
        op.f("ix_denied_request_requested_id_refused_at"),
        "denied_request",
        ["requested_id", "refused_at"],
        unique=False,
    )
    op.create_table(
        "issued_cert",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.String(length=64), nullable=False),
        sa.Column("previous_mac", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("spiffe_id", sa.String(length=2048), nullable=False),
        sa.Column("cluster_id", sa.String(length=512), nullable=False),
        sa.Column("caller_id", sa.String(length=2048), nullable=False),
        sa.Column("caller_pod", sa.String(length=512), nullable=False),
        sa.Column("caller_pod_uid", sa.String(length=512), nullable=False),
        sa.Column("node", sa.String(length=512), nullable=False),
        sa.Column("impersonated", sa.Boolean(), nullable=False),
        sa.Column("spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("csr_sha256", sa.String(length=64), nullable=False),
        sa.Column("certificate_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_type", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("peer_address", sa.String(length=512), nullable=False),
        sa.Column("credential_id", sa.String(length=512), nullable=False),
        sa.Column("request_id", sa.String(length=512), nullable=False),
        sa.Column("key_seen_on", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", "sequence", name=op.f("pk_issued_cert")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_issued_cert_entry_id")),
    )
    op.create_index(
        op.f("ix_issued_cert_authority_id_not_after"),
        "issued_cert",
        ["authority_id", "not_after"],
        unique=False,
    )
    op.create_index(
        op.f("ix_issued_cert_authority_id_serial"),
        "issued_cert",
        ["authority_id", "serial"],
        unique=False,
    )
    op.create_index(op.f("ix_issued_cert_issued_at"), "issued_cert", ["issued_at"], unique=False)
    op.create_index(
        op.f("ix_issued_cert_node_issued_at"), "issued_cert", ["node", "issued_at"], unique=False
    )
    op.create_index(
        op.f("ix_issued_cert_spiffe_id_not_after"),
        "issued_cert",
        ["spiffe_id", "not_after"],
        unique=False,
    )
    op.create_table(
        "leadership",
        sa.Column("election", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=512), nullable=False),
        sa.Column("instance", sa.String(length=64), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("election", name=op.f("pk_leadership")),
    )
    op.create_table(
        "ledger_head",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", name=op.f("pk_ledger_head")),
    )
    op.create_table(
        "ledger_segment",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", "number", name=op.f("pk_ledger_segment")),
    )
    op.create_table(
        "replica",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("generation_loaded", sa.BigInteger(), nullable=False),
        sa.Column("bundle_version_loaded", sa.BigInteger(), nullable=False),
        sa.Column("bundle_loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", name=op.f("pk_replica")),
    )
    op.create_table(
        "bundle_entry",
        sa.Column("trust_domain", sa.String(length=512), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("tainted", sa.Boolean(), nullable=False),
        sa.Column("added_version", sa.BigInteger(), nullable=False),
        sa.Column("removed_version", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trust_domain"], ["ca_state.trust_domain"], name=op.f("fk_bundle_entry_trust_domain")
        ),
        sa.PrimaryKeyConstraint("trust_domain", "sha256", name=op.f("pk_bundle_entry")),
    )


def downgrade() -> None:
    """Remove every table, rows included."""
    op.drop_table("bundle_entry")
    op.drop_table("replica")
    op.drop_table("ledger_segment")
    op.drop_table("ledger_head")
    op.drop_table("leadership")
    op.drop_index(op.f("ix_issued_cert_spiffe_id_not_after"), table_name="issued_cert")
    op.drop_index(op.f("ix_issued_cert_node_issued_at"), table_name="issued_cert")
    op.drop_index(op.f("ix_issued_cert_issued_at"), table_name="issued_cert")
    op.drop_index(op.f("ix_issued_cert_authority_id_serial"), table_name="issued_cert")
    op.drop_index(op.f("ix_issued_cert_authority_id_not_after"), table_name="issued_cert")
    op.drop_table("issued_cert")
    op.drop_index(op.f("ix_denied_request_requested_id_refused_at"), table_name="denied_request")
    op.drop_index(op.f("ix_denied_request_refused_at"), table_name="denied_request")
    op.drop_index(op.f("ix_denied_request_node_refused_at"), table_name="denied_request")
    op.drop_table("denied_request")
    op.drop_table("ca_state")
    op.drop_index(op.f("ix_ca_event_trust_domain_generation"), table_name="ca_event")
    op.drop_table("ca_event")
    op.drop_index(
        "uq_ca_authority_active",
        table_name="ca_authority",
        sqlite_where=sa.text("status = 'ACTIVE'"),
        postgresql_where=sa.text("status = 'ACTIVE'"),
    )
    op.drop_table("ca_authority")
    op.drop_table("bundle_target")
