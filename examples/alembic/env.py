"""
How Alembic runs the migrations: with your engine, and with your metadata.

    export DATABASE_URL=postgresql+psycopg://localhost/app
    alembic -c examples/alembic/alembic.ini upgrade head
"""

import os

import sqlalchemy as sa
from alembic import context

from batch_cancel.adapters.sqlalchemy import cancellations_table

metadata = sa.MetaData()  # Yours, of your models.
cancellations_table(metadata)  # So that `alembic revision --autogenerate` does not remove them.

engine = sa.create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,  # For the autocommit block in `from_0_1.py`.
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
