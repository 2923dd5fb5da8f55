"""The process: uvicorn, the limit on a request's head, and logging. Knows no routes.

Reading order: `uvicorn`, `listening`, `announcing`, `draining`, `workers`, `worker`, `dispatcher`, `handover`, `header_limit`, `protocol`,
`health`, `open_files`, `logging`.
"""
