"""The process: uvicorn, the limit on a request's head, and logging. Knows no routes.

Reading order: `uvicorn`, `header_limit`, `protocol`, `logging`.
"""
