"""an index for the events of one revision"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("ix_events_revision", "events", ["persona", "revision", "id"])


def downgrade() -> None:
    op.drop_index("ix_events_revision", "events")
