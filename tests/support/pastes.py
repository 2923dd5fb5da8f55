"""What people paste around a token, by name. None of it is part of the token, and all of it is taken off."""

from __future__ import annotations

from collections.abc import Callable


def wrapped(text: str, width: int, before: str = "", after: str = "") -> str:
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    return f"{after}\n".join(before + line for line in lines)


HARMLESS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "white space": "  {}\r\n".format,
    "double quotes": '"{}"'.format,
    "single quotes": "'{}'".format,
    "backticks": "`{}`".format,
    "a code fence": "```\n{}\n```".format,
    "typographic quotes": "\u201c{}\u201d".format,
    "low quotes": "\u201e{}\u201c".format,
    "single typographic quotes": "\u2018{}\u2019".format,
    "guillemets": "\u00ab{}\u00bb".format,
    "half of a pair": '{}"'.format,
    "an escaped quote": '\\"{}\\"'.format,
    "quotes in quotes": "'\"{}\"'".format,
    "Bearer": "Bearer {}".format,
    "bearer, small": "bearer   {}".format,
    "Bearer, twice": "Bearer Bearer {}".format,
    "Bearer:": "Bearer: {}".format,
    "a header": "Authorization: Bearer {}".format,
    "a header, small": "authorization:bearer {}".format,
    "a header in quotes": '"Authorization: Bearer {}"'.format,
    "an option of curl": "-H 'Authorization: Bearer {}'".format,
    "our other header": "X-Auth-Token: {}".format,
    "our other header, small": "x-auth-token:{}".format,
    "a quoted value in a header": 'Authorization: Bearer "{}"'.format,
    "a variable": "CAVEATS_TOKEN={}".format,
    "an exported variable": "export CAVEATS_TOKEN='{}'".format,
    "another variable": 'ROBOT="{}"'.format,
    "a member of JSON": '"token": "{}",'.format,
    "token:": "token: {}".format,
    "angle brackets": "<{}>".format,
    "parentheses": "({})".format,
    "square brackets": "[{}]".format,
    "bold of a chat": "**{}**".format,
    "a period": "{}.".format,
    "a comma": "{},".format,
    "a semicolon": "{};".format,
    "a period in quotes": '"{}."'.format,
    "an ellipsis after it": "{}...".format,
    "a BOM": "\ufeff{}".format,
    "no-break spaces": "\u00a0{}\u00a0".format,
    "zero-width spaces": "\u200b{}\u200d".format,
    "marks of direction": "\u202a{}\u202c".format,
    "a zero-width space within": lambda text: f"{text[:20]}\u200b{text[20:]}",
    "a soft hyphen within": lambda text: f"{text[:20]}\u00ad{text[20:]}",
    "a no-break space within": lambda text: f"{text[:20]}\u00a0{text[20:]}",
    "colours of a terminal": "\x1b[32m{}\x1b[0m".format,
    "a bracketed paste": "\x1b[200~{}\x1b[201~".format,
    "lines": lambda text: wrapped(text, 40),
    "lines of Windows": lambda text: wrapped(text, 40, after="\r"),
    "indented lines": lambda text: wrapped(text, 60, before="    "),
    "a mail's quoting": lambda text: wrapped(text, 60, before="> > "),
    "a mail's soft breaks": lambda text: wrapped(text, 75, after="="),
    "a shell's continued lines": lambda text: wrapped(text, 60, after=" \\"),
    "a table's frame": lambda text: wrapped(text, 60, before="\u2502 ", after=" \u2502"),
    "a wrapped header": lambda text: "Authorization: Bearer\n  " + wrapped(text, 50, before="  "),
    "wrapped in quotes": lambda text: f'"{wrapped(text, 40)}"\n',
    "all at once": lambda text: f"\ufeff> \u201cAuthorization: Bearer <{text}>\u201d.\r\n",
}
