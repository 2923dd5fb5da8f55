"""The console's files: what a browser gets, under which policy, and that nothing beside them can be had."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats_service.console.files import FOLDER, ConsoleFiles
from tests.support.service import Service, problem

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


def policy_of(answer: httpx.Response) -> dict[str, str]:
    """The content security policy: each directive with its sources."""
    directives = answer.headers["content-security-policy"].split("; ")
    return {name: sources for name, _, sources in (one.partition(" ") for one in directives)}


def test_a_browser_gets_the_console_and_a_program_what_it_always_got(http: httpx.Client) -> None:
    page, told = http.get("/", headers=HTML), http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert told.json()["service"] == "Caveats"
    assert http.get("/", headers={"Accept": "application/json"}).json() == told.json()
    for answer in (page, told):
        assert "Accept" in answer.headers["vary"]


def test_a_document_runs_nothing_but_the_services_own_files(http: httpx.Client) -> None:
    answer = http.get("/", headers=HTML)
    assert policy_of(answer) == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "img-src": "'self' data:",
        "require-trusted-types-for": "'script'",
        "script-src": "'self'",
        "style-src": "'self'",
        "trusted-types": "'none'",
    }
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert "set-cookie" not in answer.headers


def test_the_document_for_looking_into_tokens_reaches_nobody(tmp_path: Path) -> None:
    (tmp_path / "inspect.html").write_text("<p>{{ service }}</p>")
    (tmp_path / "other.html").write_text("<p></p>")
    files = ConsoleFiles(service="A & B", public_path="", folder=tmp_path)
    inspect, other = files.find("inspect"), files.find("other")
    assert inspect is not None
    assert other is not None
    assert inspect.content == b"<p>A &amp; B</p>"
    policy = inspect.headers["Content-Security-Policy"]
    for directive in ("connect-src 'none'", "form-action 'none'", "img-src data:;", "default-src 'none'"):
        assert directive in policy
    assert "connect-src 'self'" in other.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.html")), ids=lambda path: path.name)
def test_no_document_has_what_its_policy_forbids(path: Path) -> None:
    html = path.read_text("utf-8")
    assert not re.findall(r"<[^>]*\s(?:on\w+|style)=", html)
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)", html)
    assert not re.findall(r"(?:src|href|action)=[\"']?(?:https?:)?//", html)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/*.js")), ids=lambda path: path.name)
def test_no_module_turns_text_into_markup_or_into_code(path: Path) -> None:
    code = path.read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code
    )
    assert not re.findall(r"[\"'`]https?://(?!www\.w3\.org/2000/svg)", code)


@pytest.mark.parametrize("file", ["style.css", "shell.js"])
def test_a_file_is_sent_compressed_and_once(http: httpx.Client, file: str) -> None:
    url = f"/console/{file}"
    answer, plain = http.get(url), http.get(url, headers={"Accept-Encoding": "identity"})
    kind = "text/css" if file.endswith("css") else "text/javascript"
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert answer.content == plain.content
    written = (FOLDER / file).read_text("utf-8").splitlines()
    sent = answer.text.splitlines()
    assert len(sent) == len(written)
    left_out = [line for line, other in zip(written, sent, strict=True) if line != other]
    assert all(line.lstrip().startswith(("//", "/*", "*")) for line in left_out)
    assert (left_out != []) == file.endswith(".js")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["vary"] == "Accept-Encoding"
    again = http.get(url, headers={"If-None-Match": f'"other", {answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_clients_modules_are_served_beside_the_pages(http: httpx.Client) -> None:
    for name in ("client/index.js", "client/token/wire.js"):
        answer = http.get(f"/console/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name",
    [
        *("files.py", "__init__.py", "page.html", "index.html", "page", "index", "nowhere", "nowhere.js"),
        *(
            "../app.py",
            "%2e%2e/app.py",
            "client/../files.py",
            "/etc/passwd",
            "x/style.css/",
            "style.css%00.js",
        ),
        *(".js", "a/.js", "style.css%0a", "STYLE", "caf\u00e9.js"),
    ],
)
def test_no_other_file_can_be_had(http: httpx.Client, name: str) -> None:
    assert problem(http.get(f"/console/{name}"))[0] in (400, 404)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    files = ConsoleFiles(service="", public_path="", folder=tmp_path)
    assert files.find("a.js") is None
    (tmp_path / "a.js").write_text("1")
    first = files.find("a.js")
    assert first is not None
    assert files.find("a.js") is first
    (tmp_path / "a.js").write_text("two")
    second = files.find("a.js")
    assert second is not None
    assert (second.content, second.etag != first.etag) == (b"two", True)


def test_the_operators_name_and_colours_are_the_consoles_as_well(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "brand").mkdir()
    (tmp_path / "brand" / "brand.css").write_text(":root { --main: #123456 }")
    service = start(pages_dir=tmp_path / "brand", service_name="Example <Sign-in>")
    with service.client() as http:
        assert "<span>Example &lt;Sign-in&gt;</span>" in http.get("/", headers=HTML).text
        assert http.get("/console/style.css").text.endswith(":root { --main: #123456 }")


@pytest.mark.parametrize("given", [True, False])
def test_the_pages_know_whether_anybody_may_make_an_account(
    start: Callable[..., Service], *, given: bool
) -> None:
    with start(open_registration=given).client() as http:
        assert ('data-registration="open"' in http.get("/", headers=HTML).text) == given


@pytest.mark.parametrize("at", ["/", "/auth", "/auth/", "/auth/console/narrow", "/console/inspect"])
def test_below_a_path_of_a_host_every_address_begins_with_it(start: Callable[..., Service], at: str) -> None:
    """Whether or not the proxy takes the path away, and whether or not there is a slash at the end."""
    service = start(public_url="https://example.com/auth")
    with service.client() as http:
        html = http.get(at, headers=HTML).text
        addresses = re.findall(r"(?:src|href)=\"([^\"#]+)", html)
        assert len(addresses) > 5
        assert [each for each in addresses if not each.startswith(("/auth/", "data:"))] == []
        for each in addresses:
            if each.startswith("/auth/console/") and each.endswith((".js", ".css")):
                assert http.get(each).status_code == 200


def test_alone_on_its_host_every_address_is_relative(http: httpx.Client) -> None:
    addresses = re.findall(r"(?:src|href)=\"([^\"#]+)", http.get("/", headers=HTML).text)
    assert {each[:2] for each in addresses if not each.startswith("data:")} == {"./"}


@pytest.mark.parametrize("query", ["token=cav1_AgEB", "x=cav1_AgEB", "%74oken=x", "a&token=x"])
def test_a_browser_with_a_token_in_the_query_is_sent_to_the_page_without_it(
    http: httpx.Client, query: str
) -> None:
    """A fragment tells the page, which tells the person. A program is told as everywhere."""
    answer = http.get(f"/console/inspect?{query}", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "inspect#in-query")
    assert answer.content == b""
    for refused in (
        http.get(f"/console/inspect?{query}"),
        http.get(f"/v1/session?{query}", headers=HTML),
        http.get(f"/console/inspect/?{query}", headers=HTML),
        http.get("/console/cav1_AgEB", headers=HTML),
        http.post(f"/console/inspect?{query}", headers=HTML),
    ):
        assert problem(refused) == (400, "bad_request")


@pytest.mark.parametrize("page", ["inspect", "narrow", "try", "nothing"])
@pytest.mark.parametrize("query", ["", "?x=1"])
def test_a_browser_that_came_from_an_address_with_a_token_is_not_sent_round_and_round(
    http: httpx.Client, page: str, query: str
) -> None:
    """It sends the same `Referer` after a redirect."""
    headers = {**HTML, "Referer": "https://app.example/?token=cav1_AgEB"}
    answer = http.get(f"/console/{page}{query}", headers=headers, follow_redirects=True)
    assert len(answer.history) == len(query[:1])
    assert problem(answer) == (400, "bad_request")
