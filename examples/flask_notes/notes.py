"""A small Flask back end without sessions: each request brings its token, and the notes belong to its user.

    caveats-service keys export --audience notes --output notes.keys
    NOTES_KEYS=notes.keys flask --app examples/flask_notes/notes.py:from_environment run --port 8082

    GET    /                 a page for people, in plain JavaScript
    GET    /notes            needs scope notes:read
    POST   /notes {"text":}  needs scope notes:write
    DELETE /notes/1          needs scope notes/1:write

The clients are `notes_client.py`, and `page/notes.js` for front ends that have no cookies. That page signs in at the service, which has to
allow its origin: `CAVEATS_ALLOWED_ORIGINS=http://127.0.0.1:8082 caveats-service serve`. Nothing is kept about who is signed in: restart this app, and every client goes
on as before. It does not follow revocations, so its tokens are best short-lived; `examples/photos` does follow.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, make_response, render_template, request, send_from_directory
from werkzeug.exceptions import HTTPException, Unauthorized

from caveats import (
    AudienceKeyring,
    CaveatsError,
    Context,
    DamagedToken,
    Expires,
    Grant,
    UnsatisfiedCaveats,
    Verifier,
    WrongAudience,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN_HEADER = "X-Auth-Token"
SERVICE = "http://127.0.0.1:8080"
JAVASCRIPT = Path(__file__).resolve().parents[2] / "clients" / "javascript" / "src"
"""The JavaScript client as it is. In a project of your own: `node_modules/caveats/src`."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' {service}; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def from_environment() -> Flask:
    """The app, with the keys in the file that NOTES_KEYS names."""
    exported = json.loads(Path(os.environ["NOTES_KEYS"]).read_text("ascii"))
    return create_app(AudienceKeyring.from_json(exported), os.environ.get("CAVEATS_URL", SERVICE))


def create_app(keyring: AudienceKeyring, service: str = SERVICE) -> Flask:
    """The app. Notes live in memory, by user. `service`: where the page signs in."""
    app = Flask(__name__, template_folder="page", static_folder="page", static_url_path="/page")
    verifier = Verifier(keyring, audience=keyring.audience)
    notes: dict[str, dict[int, str]] = {}
    numbers = count(1)

    def needs(scope: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """The decorated view is called with the grant, or not at all. `{number}` is the note's."""

        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def guarded(**found: Any) -> Any:
                return view(admit(verifier, scope.format(**found)), **found)

            return guarded

        return decorate

    @app.get("/notes")
    @needs("notes:read")
    def all_notes(grant: Grant) -> Response:
        mine = notes.get(grant.user, {})
        return jsonify(notes=[{"number": number, "text": text} for number, text in mine.items()])

    @app.post("/notes")
    @needs("notes:write")
    def add_note(grant: Grant) -> tuple[Response, int]:
        body = request.get_json(silent=True)
        text = body.get("text") if isinstance(body, dict) else None
        if not isinstance(text, str):
            return problem(400, "bad_request"), 400
        number = next(numbers)
        notes.setdefault(grant.user, {})[number] = text
        return jsonify(number=number, text=text), 201

    @app.delete("/notes/<int:number>")
    @needs("notes/{number}:write")
    def delete_note(grant: Grant, number: int) -> tuple[Response, int]:
        if notes.get(grant.user, {}).pop(number, None) is None:
            return problem(404, "not_found"), 404
        return Response(status=204), 204

    @app.get("/")
    def page() -> Response:
        response = make_response(render_template("notes.html", service=service))
        response.headers["Content-Security-Policy"] = _POLICY.format(service=service)
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @app.get("/caveats/<path:name>")
    def javascript(name: str) -> Response:
        return send_from_directory(JAVASCRIPT, name)

    @app.after_request
    def for_pages_elsewhere(response: Response) -> Response:
        """Pages of any origin may send their token: there is no cookie, so a browser adds nothing of its own."""
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = f"Content-Type, {TOKEN_HEADER}"
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.register_error_handler(CaveatsError, refused)
    app.register_error_handler(HTTPException, other)
    return app


def admit(verifier: Verifier, scope: str) -> Grant:
    """The grant for the present request. Raises the library's refusals, which `refused` answers."""
    if TOKEN_HEADER not in request.headers:
        raise Unauthorized
    context = Context(
        now=datetime.now(UTC),
        scopes=(scope,),
        method=request.method,
        path=request.path,
        client_ip=request.remote_addr,
    )
    return verifier.verify(request.headers[TOKEN_HEADER], context)


def refused(error: CaveatsError) -> tuple[Response, int]:
    """One answer for every token that is not authentic or not alive; the whole reason for one that is."""
    match error:
        case UnsatisfiedCaveats() if all(failure.kind != Expires.kind for failure in error.failures):
            failures = [asdict(failure) for failure in error.failures]
            return problem(403, "caveats_unsatisfied", failures=failures), 403
        case WrongAudience():
            return problem(403, "wrong_audience"), 403
        case DamagedToken():
            return problem(401, "damaged_token"), 401
        case _:
            return problem(401, "invalid_token"), 401


def other(error: HTTPException) -> tuple[Response, int]:
    """What else can go wrong, in the same form."""
    status = error.code or 500
    codes = {401: "credential_required", 404: "not_found", 405: "method_not_allowed", 500: "internal"}
    return problem(status, codes.get(status, "bad_request")), status


def problem(status: int, code: str, **more: object) -> Response:
    """The body of a problem+json answer (RFC 9457)."""
    response = jsonify(type=f"urn:caveats:problem:{code}", status=status, code=code, **more)
    response.content_type = "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
