"""The reason why a prompt was not expanded, which its card says.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; prompts that were expanded before had no fallback that was kept."""
    with op.batch_alter_table("expansions") as expansions:
        expansions.add_column(sa.Column("fallback", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("expansions") as expansions:
        expansions.drop_column("fallback")
