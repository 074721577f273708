"""Jobs of any kind, and the frames that a job asks for.

The kinds are one table of the bot's code, which checks them.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column, and take the kinds out of the schema.

    Earlier jobs have the number of frames that is their model's default.
    """
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("num_frames", sa.Integer(), nullable=True))
        jobs.drop_constraint(op.f("ck_jobs_kind"), type_="check")


def downgrade() -> None:
    """Take both back."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("num_frames")
        jobs.create_check_constraint(op.f("ck_jobs_kind"), "kind IN ('imagine', 'animate')")
