"""Shows a token to people: the tree of its caveats, and a table of what they allow. Knows rich, no keys."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from rich.tree import Tree

from caveats.kinds import MomentCaveat, Path
from caveats_client.cli.durations import relative
from caveats_client.cli.hints import typed
from caveats_client.cli.inspection import ISSUER, UNKNOWN, Inspection, Link, ThirdPartyLink
from caveats_client.cli.output import moment
from caveats_client.cli.render import expiry, in_short, line, lines, rows, styled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from rich.table import Table
    from rich.text import Text

NOT_VERIFIED = "Not verified: this is what the token says of itself. No key was used and no request was sent."
_TITLES = {
    ISSUER: "added by the issuer",
    "holder": "added by holders",
    UNKNOWN: "added by issuer or holders: this identifier does not say",
}


def tree(inspection: Inspection, now: datetime) -> Tree:
    """The caveats in order: first the issuer's, then the holders'."""
    root = Tree(_title(inspection, now), guide_style="dim")
    for added_by, title in _TITLES.items():
        links = [link for link in inspection.chain.links if link.added_by == added_by]
        if links:
            _grow(root.add(styled(title, "bold")), links, now)
    return root


def _title(inspection: Inspection, now: datetime) -> Text:
    identifier = inspection.identifier
    if identifier is None:
        shown = inspection.raw_identifier.decode("utf-8", "backslashreplace")
        title = [
            line(("macaroon ", "bold"), (shown, "bold")),
            styled("not from a caveats service: its identifier has another form", "yellow"),
        ]
    else:
        issued = identifier.issued_at
        title = [
            line(("token ", "bold"), (identifier.token_id, "bold")),
            styled(
                f"issued {relative(issued, now)} ({moment(issued)}) under key {identifier.key_id}", "bold"
            ),
        ]
    if inspection.chain.location:
        title.append(styled(f"location {inspection.chain.location} (a hint, not authenticated)", "bold"))
    return lines(*title)


def _grow(branch: Tree, links: Iterable[Link | ThirdPartyLink], now: datetime) -> None:
    for link in links:
        if isinstance(link, Link):
            branch.add(_line(link, now))
        else:
            _grow_third_party(branch, link, now)


def _grow_third_party(branch: Tree, link: ThirdPartyLink, now: datetime) -> None:
    parts = [("third party ", "magenta"), (link.location or "(no location)", "magenta")]
    if link.format != "caveats":
        form = "a ticket of unknown form" if link.format == "unknown" else link.format
        parts.append((f" ({form})", "magenta"))
    if link.discharge is None:
        parts.append(("  has no discharge here: every verifier refuses until there is one", "yellow"))
        branch.add(line(*parts))
        return
    until = "" if link.expires_at is None else f", which expires {relative(link.expires_at, now)}"
    parts.append((f"  met by discharge {link.number}{until}", "green"))
    _grow(branch.add(line(*parts)), link.discharge.links, now)


def _line(link: Link, now: datetime) -> Text:
    short, meaning = in_short(str(link.caveat))
    parts = [(f"{link.index} ", "dim"), (short, "dim" if link.redundant else "")]
    if isinstance(link.caveat, MomentCaveat):
        parts.append((f"  {relative(link.caveat.moment, now)}", "cyan"))
    if isinstance(link.caveat, Path) and link.caveat.names != link.caveat.patterns:
        parts.append((f"  {' '.join(link.caveat.names)}", "cyan"))
    if meaning:
        parts.append((f"  {meaning}", "cyan"))
    if link.redundant:
        parts.append((f"  adds nothing: {link.redundant}", "yellow"))
    if link.unknown:
        parts.append((f"  {link.unknown}", "yellow"))
    return line(*parts)


def authority(inspection: Inspection, now: datetime) -> Table:
    """What all the caveats allow together, in two columns."""
    left = inspection.authority
    lines: list[tuple[str, str | Text]] = [("user", left.user or styled("none named", "yellow"))]
    lines.append(("scopes", " ".join(left.scopes) or _nothing("the scope caveats contradict each other")))
    lines.append(("expires", expiry(left.expires_at, now)))
    if left.not_before is not None and left.not_before > now:
        lines.append(("not before", f"{relative(left.not_before, now)} ({moment(left.not_before)})"))
    audiences = inspection.audiences
    if audiences is not None:
        lines.append(("audience", " ".join(audiences) or _nothing("its caveats exclude the app it is for")))
    for kind, lists in left.lists.items():
        if kind != "audience":
            excluded = f"the {kind} caveats contradict each other"
            lines += [(kind, " ".join(map(_readable, words)) or _nothing(excluded)) for words in lists]
    lines += [("note", note) for note in left.notes]
    lines += [("and", str(caveat)) for caveat in left.others]
    missing = [link.location for link in inspection.third_parties if link.discharge is None]
    lines += [("needs", _needed(location)) for location in missing]
    if inspection.stray_discharges:
        lines.append(("stray", styled("a discharge that no caveat asks for: every verifier refuses", "red")))
    return rows(lines)


def _needed(location: str) -> str:
    if not location:
        return "a discharge from (no location)"
    return f"a discharge from {location}; to collect it: {typed('discharge', '--allow', location)}"


def _readable(word: str) -> str:
    """A word with its percent-encoding undone; of the kinds that list words only paths have one."""
    return unquote(word) if "%" in word else word


def _nothing(why: str) -> Text:
    return styled(f"none: {why}", "red")
