"""indices for many personas, events and votes; when a persona was last asked; votes that were counted already"""

import sqlalchemy as sa
from alembic import op

import understudy.registry.tables

revision = "0006"
down_revision = "0005"

INDICES = {
    "ix_revisions_newest": ("revisions", ["persona", "created_at"]),
    "ix_events_newest": ("events", ["persona", "id"]),
    "ix_battles_at": ("battles", ["at"]),
    "ix_battles_left": ("battles", ["left", "right"]),
    "ix_battles_right": ("battles", ["right", "left"]),
    "ix_votes_session": ("votes", ["session", "at"]),
    "ix_withdrawals_at": ("withdrawals", ["at"]),
}
SUSPECT = sa.text("suspect != ''")


def upgrade() -> None:
    op.drop_index("ix_events_persona", "events")
    for name, (table, columns) in INDICES.items():
        op.create_index(name, table, columns)
    op.create_index("ix_votes_suspect", "votes", ["suspect"], sqlite_where=SUSPECT, postgresql_where=SUSPECT)
    op.add_column(
        "personas", sa.Column("used_at", understudy.registry.tables.UtcDateTime(timezone=True), nullable=True)
    )
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(length=31), nullable=False),
        sa.Column("at", understudy.registry.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("votes", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("tallies")
    op.drop_column("personas", "used_at")
    op.drop_index("ix_votes_suspect", "votes")
    for name, (table, _) in INDICES.items():
        op.drop_index(name, table)
    op.create_index("ix_events_persona", "events", ["persona"])
