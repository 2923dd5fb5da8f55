"""A Django site without a database: decorated views (sync or async), or (`middleware`) guarded as a whole."""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.http import JsonResponse
from django.urls import re_path
from django.utils.decorators import method_decorator
from django.views import View

from caveats_client.guards.django import TokenGuard
from tests.support.guard import (
    AUDIENCE,
    PUBLIC,
    TRUSTED,
    extra,
    needed,
    now,
    seen,
    serve_asgi,
    serve_wsgi,
    verifier,
)

guard = TokenGuard(
    verifier(),
    audience=AUDIENCE,
    trusted_proxies=TRUSTED,
    extra=lambda request: extra({name.lower(): value for name, value in request.headers.items()}),
    decoded_paths="decoded" in sys.argv,
    now=now,
)
token_middleware = guard.middleware(
    scopes=lambda request: needed(request.method, request.path_info), public=PUBLIC
)
whole = "middleware" in sys.argv
served_async = "asgi" in sys.argv


def requires(*scopes):
    return (lambda view: view) if whole else guard.requires(*scopes)


def public(request, rest=""):
    return JsonResponse({"public": True})


if served_async:

    @requires("albums/{album}:read")
    async def one_album(request, album):
        return JsonResponse(seen(request.grant, request.path))

    @requires("photos:read")
    async def read(request, rest):
        return JsonResponse(seen(request.grant, request.path))

    @requires("photos:write")
    async def write(request, rest):
        return JsonResponse(seen(request.grant, request.path))

    async def either(request, rest):
        return await (write if request.method == "POST" else read)(request, rest=rest)

else:

    @method_decorator(requires("albums/{album}:read"), name="dispatch")
    class OneAlbum(View):
        def get(self, request, album):
            return JsonResponse(seen(request.grant, request.path))

    one_album = OneAlbum.as_view()

    @requires("photos:read")
    def read(request, rest):
        return JsonResponse(seen(request.grant, request.path))

    @requires("photos:write")
    def write(request, rest):
        return JsonResponse(seen(request.grant, request.path))

    def either(request, rest):
        return (write if request.method == "POST" else read)(request, rest=rest)


urlpatterns = [
    re_path(r"^healthz$", public),
    re_path(r"^static/(?P<rest>.*)$", public),
    re_path(r"^albums/(?P<album>.*)$", one_album),
    re_path(r"^(?P<rest>.*)$", either),
]

if __name__ == "__main__":
    settings.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[f"{__name__}.token_middleware"] if whole else [],
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()
    if served_async:
        from django.core.asgi import get_asgi_application

        serve_asgi(get_asgi_application())
    else:
        from django.core.wsgi import get_wsgi_application

        serve_wsgi(get_wsgi_application())
