"""The service as a third party (a discharger): what tickets ask, who decides, and the discharges that say so.

Without `routes` it knows no HTTP: forms and answers of the bakery protocol are bytes and values here. It knows the store
and the core, and nothing of issuing or verifying the service's own tokens.

Reading order: `questions` (a ticket opened and judged), `conditions`, `agents` (sign-in by key), `service` (all of it with
the store), `decisions` (by people), `secrets` (of an interaction), `waiters`, `protocol` (forms and answers),
`descriptions` and `pages` (for people), `routes` (the endpoints).
"""
