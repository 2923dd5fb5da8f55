"""The databases: SQLite and PostgreSQL behind one protocol, with transactions, queues and backups.

Knows the table `meta` by name, for its counters; must not know any other table, nor a record.
Reading order: `engine` (the protocol), `sqlite`, `postgres`, `transactions` (what repositories use), `queue`,
`change_stream`, `file_lock`, `migrate`, `backup`.
"""
