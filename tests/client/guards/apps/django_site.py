"""A Django site for `manage.py runserver`, which does not give the path as it was sent. Guarded as a whole."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import re_path

from caveats_client.guards.django import TokenGuard
from tests.support.guard import AUDIENCE, now, verifier

guard = TokenGuard(verifier(), audience=AUDIENCE, decoded_paths="decoded" in sys.argv, now=now)
token_middleware = guard.middleware(scopes="photos:read", public=("/healthz", "/static/*", "/für alle"))

urlpatterns = [re_path(r"^(?P<rest>.*)$", lambda request, rest: HttpResponse(request.path_info))]

if __name__ == "__main__":
    settings.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[f"{__name__}.token_middleware"],
    )
    execute_from_command_line(
        ["manage.py", "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{sys.argv[1]}"]
    )
