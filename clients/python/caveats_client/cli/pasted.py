"""A token as a person pastes it: what surrounds it is taken off, and what is no token is named.

Knows text, and reads nothing. For the command line only: a header and `Macaroon.decode` take a token as it is and
nothing else. No message repeats any of the text, which may be a secret.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

from caveats import Bundle, CaveatsError
from caveats.token import PREFIX, is_token_id

_UNSEEN = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)
"""Sequences of terminals, and characters that are not seen: soft hyphens, zero-width and direction marks, the BOM."""
_AROUND = (
    "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d<>()[]*\\"
)
"""Quotes of all kinds, brackets, and the emphasis of chats: no token begins or ends with one."""
_AFTER = ".,;:!?\u2026\u3002\uff0c"
_LINE_STARTS = " \t\xa0>|\u2502\u2503"
"""Indentation, a mail's quoting and the frame of a table."""
_LINE_ENDS = " \t\xa0\\|\u2502\u2503"
"""White space, a shell's continuation and the frame of a table."""
_BEFORE = re.compile(
    r"""(?ix) (?: (?:export|set|-H|--header) \s+ ["']? )*
    (?: (?:proxy-)?authorization \s*[:=] | x-auth-token \s*[:=] | bearer (?:\s*[:=]|\s)
      | ["']? \b token ["']? (?:\s*[:=]|\s) | (?:\$env:)? [a-z_]\w{0,40} \s*=\s* (?=["']?cav1_) ) \s*"""
)
_SCHEMES = (
    "basic",
    "digest",
    "dpop",
    "negotiate",
    "ntlm",
    "hawk",
    "apikey",
    "macaroon",
    "aws4-hmac-sha256",
)
_SCHEME = re.compile(rf"(?i)({'|'.join(_SCHEMES)})(?:\s|:|$)")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){1,4}")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*\}?|%\w+%|\$env:\w+")
_ADDRESS = re.compile(r"(?i)https?://")
_OTHERS = (
    (r"gh[opsur]_|github_pat_", "a token of GitHub"),
    (r"glpat-", "a token of GitLab"),
    (r"pypi-", "a token of PyPI"),
    (r"fm[12][ar]?_|FlyV1", "a token of Fly.io"),
    (r"xox[abeprs]-", "a token of Slack"),
    (r"sk-|sk_live_|sk_test_", "an API key"),
    (r"-----BEGIN ", "a key or certificate in PEM"),
    (r"W3s", "a list of a bakery's macaroons"),
)
_ELLIPSIS = re.compile(r"\u2026|\.\.\.")
_STRANGE = re.compile(r"[^A-Za-z0-9_.+/=-]")
_GET_ONE = "`caveats login` and `caveats issue` make a token, which begins with cav1_"


def unwrapped(text: str) -> str:
    """`text` without what is put around a token: quotes, `Bearer`, a header's name, line breaks, a last period."""
    text = _UNSEEN.sub("", text)
    if text.strip().startswith("{"):  # a macaroon in JSON
        return text.strip()
    lean = "".join(_lean(text).split())
    return lean if is_token(lean) else _as_base64url(lean)


def read_token_id(text: str) -> str:
    """A token's id as a person pastes it. Raises `ValueError`, which says what the text is instead."""
    lean = "".join(_lean(text).split())
    if is_token_id(lean.upper()):
        return lean.upper()
    if PREFIX in lean.lower() or is_token(lean):
        raise ValueError(
            "that is a token's text, not its id: to revoke a copy, give its text without --token-id"
        )
    raise ValueError(
        "not a token's id: it has 26 letters and digits, as `caveats tokens` and `caveats inspect` show it"
    )


def is_token(text: str) -> bool:
    """Whether the library reads this very text as a token."""
    try:
        Bundle.decode(text)
    except CaveatsError:
        return False
    return True


def misfit(text: str) -> str | None:
    """What `text` is instead of a token, to follow upon "holds"; None if there is no better word than the library's."""
    seen = _UNSEEN.sub("", text).strip()
    if seen.startswith(("{", "[")):
        return _json(seen)
    lean = _lean(text)
    token = "".join(lean.split())
    if _ADDRESS.match(lean):
        return "an address, not a token"
    if scheme := _SCHEME.match(lean):
        what = "a username and password" if scheme[1].lower() == "basic" else "a credential"
        return f"{what} for the scheme {scheme[1].capitalize()}, not a token: {_GET_ONE}"
    if _VARIABLE.fullmatch(seen.strip("\"'")):
        return "the name of a variable, not its value: write it in double quotes, and check that it is set"
    if _JWT.fullmatch(token):
        return f"a JWT, not a token of Caveats: {_GET_ONE}"
    if is_token_id(token.upper()):
        return (
            "a token's id, not its text: the text begins with cav1_; `caveats revoke --token-id` takes an id"
        )
    for pattern, what in _OTHERS:
        if re.match(pattern, token):
            return f"{what}, not a token of Caveats: {_GET_ONE}"
    if PREFIX in token.lower():
        return _damage(token, seen)
    return "the name of a file: to read it, use < and the name" if _is_file(seen) else None


def _damage(token: str, seen: str) -> str | None:
    """Why a text with `cav1_` in it is no token. `seen`: with what is around it."""
    if _ELLIPSIS.search(seen):
        return "a token that a display cut short: copy it where no part is left out"
    if not token.startswith(PREFIX):
        if token.lower().startswith(PREFIX):
            return "a token whose letters became capitals or small: copy it as it was printed"
        return "a token and other text: give only what begins with cav1_"
    if len(re.findall(rf"(?<!\.){PREFIX}", token)) > 1:
        return "more than one token: give one"
    if strange := _STRANGE.search(token):
        name = unicodedata.name(strange[0], "")
        what = f"U+{ord(strange[0]):04X}{name and f' ({name.lower()})'}"
        return f"a token with the character {what} at place {strange.start() + 1}, which no token has"
    return None


def _lean(text: str) -> str:
    """`text` without what stands around its lines, and around all of it; the words are still apart."""
    text = _UNSEEN.sub("", text)
    if "\n" in text.strip():
        *lines, last = (
            line.strip().lstrip(_LINE_STARTS).rstrip(_LINE_ENDS) for line in text.strip().split("\n")
        )
        text = "\n".join((*(line.removesuffix("=") for line in lines), last))  # "=" is a mail's soft break
    before = None
    while text != before:
        before = text
        text = text.strip().strip(_AROUND).rstrip(_AFTER)
        text = text[found.end() :] if (found := _BEFORE.match(text)) else text
    return text


def _as_base64url(text: str) -> str:
    """A macaroon in standard base64, or with padding, as the library takes it. Any other text is returned unchanged."""
    bare = text.rstrip("=").translate(str.maketrans("+/", "-_"))
    return bare if bare != text and is_token(bare) else text


def _json(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("token"), str):
        return "JSON that has the token in its member token: give that one (jq -r .token)"
    if isinstance(value, list):
        return "a list in JSON, not a token"
    return None


def _is_file(text: str) -> bool:
    try:
        return len(text) < 256 and Path(text.removeprefix("@")).is_file()
    except (OSError, ValueError):
        return False
