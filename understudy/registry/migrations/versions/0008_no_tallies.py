"""no table of votes that were counted already: they are counted from the votes themselves"""

import sqlalchemy as sa
from alembic import op

import understudy.registry.tables

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.drop_table("tallies")


def downgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=31), nullable=False),
        sa.Column("at", understudy.registry.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("votes", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
