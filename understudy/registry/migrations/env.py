"""Alembic's entry point: runs the migrations on the connection that `database.open_database` hands over.

A new migration: change `tables.py`, then `make migration M="what changed"`.
"""

from alembic import context

from understudy.registry.tables import Table

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
