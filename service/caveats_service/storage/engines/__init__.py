"""The databases: SQLite and PostgreSQL behind one protocol, with transactions, queues and backups. Knows no table.

Reading order: `engine` (the protocol), `sqlite`, `postgres`, `transactions`, `queue`, `change_stream`, `file_lock`,
`migrate`, `backup`.
"""
