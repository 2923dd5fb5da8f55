"""The process: uvicorn, the limit on a request's head, and logging. Knows no routes.

Reading order: `uvicorn`, `listening`, `announcing`, `workers`, `draining`, `header_limit`, `protocol`, `open_files`, `logging`.
"""
