"""The Alembic environment; run by `store.migrate`, not from a shell."""
