"""Columns for delivery after a restart, and for estimates to learn from.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add columns; jobs that are there were made as MP4."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("interaction_token", sa.Text(), nullable=True))
        jobs.add_column(sa.Column("format", sa.String(8), server_default="mp4", nullable=False))
        jobs.add_column(sa.Column("reason", sa.String(32), nullable=True))
    with op.batch_alter_table("generations") as generations:
        generations.add_column(sa.Column("device", sa.String(64), nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("generations") as generations:
        generations.drop_column("device")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("reason")
        jobs.drop_column("format")
        jobs.drop_column("interaction_token")
