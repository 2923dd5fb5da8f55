"""Tokens for Django: a decorator for views, a middleware for whole sites. Imports Django; needs no database.

    guard = TokenGuard(verifier, audience="photos")     # tokens.py

    @guard.requires("photos/{photo_id}:read")           # views.py; then request.grant
    def photo(request, photo_id): ...

    middleware = guard.middleware(scopes=..., public=("/healthz",))     # tokens.py; in MIDDLEWARE: "site.tokens.middleware"

Sync and async views and servers alike. It does not touch `request.user`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from caveats import Grant
from caveats_client.frameworks import asgi, wsgi
from caveats_client.frameworks.gate import (
    Answer,
    Extra,
    Gate,
    Incoming,
    Refusal,
    Verifies,
    checked_paths,
    checked_scopes,
    filled_scopes,
    is_public,
    utc_now,
)
