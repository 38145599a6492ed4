"""
Create the tables of batch_cancel.

They have the shape of the release that is installed. What is there already, such as the tables of
an earlier release, stays as it is.
"""

from alembic import op

from batch_cancel.adapters.postgres import PostgresSchema, table_ddl

revision = "batch_cancel"
down_revision = None  # The last of yours.

schema = PostgresSchema()  # Yours: see docs/your-tables.md.


def upgrade() -> None:
    """Create what is missing."""
    op.execute(table_ddl(schema))


def downgrade() -> None:
    """Drop the tables: run `batch-cancel reconcile` first, what is pending is lost."""
    for table in (schema.earlier, schema.cancellations):
        within, name = (None, table) if isinstance(table, str) else table
        op.drop_table(name, schema=within)
