"""The pages as HTML: what is escaped, what the operator may replace, and what stays whatever they replace."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from caveats_service.discharge.pages import BrandError, PageForm, Pages
from caveats_service.discharge.secrets import approve_secret
from caveats_service.settings import SettingsError
from tests.support.discharge import ask, info, ours, ticket
from tests.support.service import Service, serving

HOSTILE = "<script>alert(1)</script>\u202e\"'"


def error_page(pages: Pages) -> str:
    return pages.error(HOSTILE, HOSTILE, HOSTILE, HOSTILE)


def style_of(page: str) -> str:
    found = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert found
    return found[1]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_dot_", ".")).write_text(text)
    return folder


def assert_safe(pages: Pages, page: str) -> None:
    assert "<script" not in page
    assert "\u202e" not in page
    assert not re.findall(r"\s(?:on\w+|style|src|href)=", page)
    policy = pages.headers["Content-Security-Policy"]
    assert b64encode(sha256(style_of(page).encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_everything_that_is_put_into_a_page_is_escaped() -> None:
    pages = Pages()
    page = error_page(pages)
    assert page.count("&lt;script&gt;") == 5  # the title and its heading, the service, the text, what to do
    assert "\\u202e" in page
    assert_safe(pages, page)


def test_a_brand_changes_the_look_and_not_the_rules(tmp_path: Path) -> None:
    write(
        tmp_path,
        brand_dot_css=":root { --main: #123456 }\r\n",
        base_dot_html='{% extends "caveats/base.html" %}{% block brand %}Example Ltd, {{ service }}{% endblock %}'
        "{% block foot %}Ask us{% endblock %}",
        error_dot_html='{% extends "base.html" %}{% block title %}Oh{% endblock %}'
        "{% block content %}<p>{{ text }}</p><img alt='{{ text }}'>{% endblock %}",
    )
    pages = Pages(tmp_path)
    page = error_page(pages)
    assert "Example Ltd, &lt;script&gt;" in page
    assert "<footer>Ask us</footer>" in page
    assert "<h1>Oh</h1>" in page
    assert "--main: #123456" in style_of(page)
    assert style_of(page).index("#1a56c4") < style_of(page).index("#123456")
    assert_safe(pages, page)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"error_dot_html": "{% block x %}"}, "error.html, line 1"),
        ({"base_dot_html": "{{ }}"}, "base.html, line 1"),
        ({"brand_dot_css": "</style><script>"}, "a style sheet has no markup"),
    ],
)
def test_a_folder_with_a_mistake_stops_the_start_in_one_line(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    brand = tmp_path / "brand"
    brand.mkdir()
    with pytest.raises(BrandError, match=re.escape(said)) as refused:
        Pages(write(brand, **files))
    assert "\n" not in str(refused.value)
    with pytest.raises(SettingsError, match="CAVEATS_PAGES_DIR: "), serving(tmp_path, pages_dir=brand):
        pass


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrandError, match="is no folder"):
        Pages(tmp_path / "nowhere")


@pytest.fixture
def branded(start: Callable[..., Service], tmp_path: Path) -> Service:
    brand = tmp_path / "brand"
    brand.mkdir()
    write(
        brand,
        base_dot_html='{% extends "caveats/base.html" %}{% block brand %}By us: {{ service }}{% endblock %}',
    )
    return start(pages_dir=brand, service_name="Example <Sign-in>")


def test_the_service_serves_its_own_pages_under_its_own_name(branded: Service) -> None:
    visit = info(ask(branded, ticket(branded, "is-authenticated-user")))["VisitURL"]
    with branded.client() as http:
        page = http.get(f"/{visit}")
        gone = http.get("/discharge/visit/nowhere")
    for answer, status in ((page, 200), (gone, 404)):
        assert answer.status_code == status
        assert "<header>By us: Example &lt;Sign-in&gt;</header>" in answer.text
        assert (
            answer.headers["content-security-policy"]
            == branded.runtime.pages.headers["Content-Security-Policy"]
        )
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page.text)
    assert "Begin again where you came from" in gone.text


def test_a_page_that_waits_loads_itself_again_until_it_is_told_not_to(service: Service) -> None:
    """Whoever has it read out would begin anew each time (WCAG 2.2.1)."""
    visit = info(ask(service, ours(service, "approved-by = nobody", "signed-in = *")))["VisitURL"]
    secret = approve_secret(visit.rpartition("/")[2])
    with service.client() as http:
        page = http.get(f"/discharge/approve/{secret}")
        assert page.headers["refresh"] == "5"
        assert '<a href="?still">Stop that</a>' in page.text
        still = http.get(f"/discharge/approve/{secret}?still")
        assert "refresh" not in still.headers
        assert '<a href="?">let it look by itself</a>' in still.text
        assert "refresh" not in http.get(f"/{visit}").headers, "it waits for whoever reads it"


def test_what_went_wrong_comes_with_what_to_do() -> None:
    said = (
        Pages()
        ._templates.get_template("parts.html")
        .module.said(  # type: ignore[attr-defined]
            PageForm(error="No <b>", remedy="Try & again")
        )
    )
    assert '<p class="said" role="alert">No &lt;b&gt;</p>' in said
    assert '<p class="next">Try &amp; again</p>' in said
