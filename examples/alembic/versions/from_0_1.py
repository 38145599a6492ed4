"""
Change the tables that release 0.1 of batch_cancel created.

On tables of a later release it does nothing. Cancels go on meanwhile.
"""

from alembic import op

from batch_cancel.adapters.postgres import PostgresSchema, migration_ddl

revision = "batch_cancel_from_0_1"
down_revision = "batch_cancel"

schema = PostgresSchema()  # Yours: see docs/your-tables.md.


def upgrade() -> None:
    """Run each statement by itself: an index that is built beside cancels needs no transaction."""
    with op.get_context().autocommit_block():
        for statement in migration_ddl(schema, "0.1"):
            op.execute(statement)


def downgrade() -> None:
    """Leave the tables: release 0.1 works on them, and they hold records."""
