"""battles of all kinds: how a pair was drawn, what took how long, why a vote; suspect and withdrawn votes"""

import sqlalchemy as sa
from alembic import op

import understudy.registry.tables

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "withdrawals",
        sa.Column("battle", sa.String(length=32), nullable=False),
        sa.Column("at", understudy.registry.tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["battle"], ["votes.battle"]),
        sa.PrimaryKeyConstraint("battle"),
    )
    op.add_column("battles", sa.Column("chance", sa.Float(), nullable=True))
    op.add_column("battles", sa.Column("category", sa.String(length=15), server_default="", nullable=False))
    op.add_column("battles", sa.Column("timing", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("votes", sa.Column("reasons", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("votes", sa.Column("suspect", sa.String(length=63), server_default="", nullable=False))
    _names(before=63, after=127)


def downgrade() -> None:
    _names(before=127, after=63)
    for table, columns in (("votes", ("suspect", "reasons")), ("battles", ("timing", "category", "chance"))):
        for column in columns:
            op.drop_column(table, column)
    op.drop_table("withdrawals")


def _names(*, before: int, after: int) -> None:
    """How long a contestant's name may be. SQLite counts no characters, so its tables stay as they are."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for side in ("left", "right"):
        op.alter_column("battles", side, existing_type=sa.String(length=before), type_=sa.String(length=after))
