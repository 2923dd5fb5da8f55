"""One repository for each kind of thing that the service remembers, each with its queries. The only SQL of the service.

Knows tables, records and transactions. Must not know which of the two databases it has.
Reading order: `users` (the plainest), `rows`, `audit` (written by every change), `groups`, `agents`, `verifiers`,
`labels`, `fates`, `keys`, `interactions`, `idempotency`, `revocations` (the busiest), `instance`.
"""
