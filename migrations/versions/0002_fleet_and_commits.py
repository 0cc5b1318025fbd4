"""Who is connected to which replica, and what commits changed.

Revision: 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the fleet and of commits."""
    op.create_table(
        "fleet_replica",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", name=op.f("pk_fleet_replica")),
    )
    op.create_table(
        "connection",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", "number", name=op.f("pk_connection")),
    )
    op.create_table(
        "commit_record",
        sa.Column("replica_id", sa.String(length=512), nullable=False),
        sa.Column("instance", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", "instance", "number", name=op.f("pk_commit_record")),
    )
    op.create_index(
        op.f("ix_commit_record_committed_at"), "commit_record", ["committed_at"], unique=False
    )


def downgrade() -> None:
    """Remove them, rows included."""
    op.drop_index(op.f("ix_commit_record_committed_at"), table_name="commit_record")
    op.drop_table("commit_record")
    op.drop_table("connection")
    op.drop_table("fleet_replica")
