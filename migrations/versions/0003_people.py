"""Blocked people, clips that retention removed, and words that a model did not read.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the table and the columns; clips deleted before count as deleted by somebody."""
    op.create_table(
        "blocks",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_blocks"),
    )
    with op.batch_alter_table("generations") as generations:
        generations.add_column(
            sa.Column("expired", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        generations.add_column(sa.Column("unread", sa.Text(), nullable=True))
        generations.add_column(sa.Column("unread_negative", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("generations") as generations:
        generations.drop_column("unread_negative")
        generations.drop_column("unread")
        generations.drop_column("expired")
    op.drop_table("blocks")
