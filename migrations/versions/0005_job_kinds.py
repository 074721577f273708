"""Jobs of any kind, and the frames that a job asks for.

The kinds are one table of the bot's code, which checks them.

Revision ID: 0005_job_kinds
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0005_job_kinds"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_STATES = sa.CheckConstraint(
    "state IN ('queued', 'running', 'rendered', 'delivered', 'failed', 'cancelled')",
    name=op.f("ck_jobs_state"),
)
_KINDS = sa.CheckConstraint("kind IN ('imagine', 'animate')", name=op.f("ck_jobs_kind"))


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def upgrade() -> None:
    """Add the column, and take the kinds out of the schema.

    SQLite makes the table anew with the checks that are given. Earlier jobs have the number of
    frames that is their model's default.
    """
    checks = (_STATES,) if _is_sqlite() else ()
    with op.batch_alter_table("jobs", table_args=checks) as jobs:
        jobs.add_column(sa.Column("num_frames", sa.Integer(), nullable=True))
        if not _is_sqlite():
            jobs.drop_constraint(op.f("ck_jobs_kind"), type_="check")


def downgrade() -> None:
    """Take both back."""
    checks = (_STATES, _KINDS) if _is_sqlite() else ()
    with op.batch_alter_table("jobs", table_args=checks) as jobs:
        jobs.drop_column("num_frames")
        if not _is_sqlite():
            jobs.create_check_constraint(op.f("ck_jobs_kind"), "kind IN ('imagine', 'animate')")
