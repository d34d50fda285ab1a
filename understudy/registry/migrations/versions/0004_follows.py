"""follows"""

import sqlalchemy as sa
from alembic import op

import understudy.registry.tables

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "follows",
        sa.Column("persona", sa.String(length=63), nullable=False),
        sa.Column("repo", sa.String(length=200), nullable=False),
        sa.Column("wanted", sa.String(length=200), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("at", understudy.registry.tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("persona"),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.alter_column("actor", existing_type=sa.String(length=63), type_=sa.String(length=255))


def downgrade() -> None:
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.alter_column("actor", existing_type=sa.String(length=255), type_=sa.String(length=63))
    op.drop_table("follows")
