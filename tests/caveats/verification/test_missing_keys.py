"""The warning of a verifier whose keys are older than the tokens that it is shown."""

from __future__ import annotations

import re

import pytest

from caveats import AudienceKeyring, MasterKey, MasterKeyring, UnknownKey, Verifier
from caveats.verification.missing_keys import MissingKeyLog
from tests.support.law import REQUEST, issue

LOG = "caveats.verification"


def token_under(key_id: str) -> str:
    return issue(key_id=key_id, keyring=MasterKeyring([MasterKey(key_id, b"2" * 32)])).encode()


def exported(*key_ids: str) -> AudienceKeyring:
    """What an app has read from a file."""
    keys = [MasterKey(key_id, b"1" * 32).audience_key("photos") for key_id in key_ids]
    return AudienceKeyring.from_json(AudienceKeyring("photos", keys).to_json())


def refused(verifier: Verifier, token: str) -> None:
    with pytest.raises(UnknownKey):
        verifier.verify(token, REQUEST)


@pytest.mark.parametrize(
    ("here", "named", "said"),
    [
        (("k1",), "k2", "is under k2, this app has k1: export the keys again, or register"),
        (("k1", "k2"), "k1007", "is under k1007, this app has k1, k2: export"),
        (("k9", "k10"), "k11", "is under k11, this app has k9, k10: export"),
        ((), "k1", "is under k1, this app has no key: export"),
    ],
)
def test_a_token_under_a_newer_key_is_named_in_the_log(
    here: tuple[str, ...], named: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused(Verifier(exported(*here), audience="photos"), token_under(named))
    (record,) = caplog.records
    assert (record.name, record.levelname) == (LOG, "WARNING")
    assert said in record.getMessage()


def test_nothing_of_the_token_is_logged_but_its_key_id(caplog: pytest.LogCaptureFixture) -> None:
    token = token_under("k2")
    refused(Verifier(exported("k1"), audience="photos"), token)
    assert "cav1_" not in caplog.text
    assert token[5:40] not in caplog.text
    assert "alice" not in caplog.text


def test_a_retired_key_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    refused(Verifier(exported("k10", "k11"), audience="photos"), token_under("k9"))
    assert caplog.records == []


def test_a_stranger_gets_one_line_a_minute_whatever_keys_are_made_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    log = MissingKeyLog(lambda: now)
    for second in range(121):
        now = float(second)
        for number in range(2, 12):
            log.notice(f"k{number + 100 * second}", exported("k1"))
    said = [record.getMessage() for record in caplog.records]
    assert [re.findall(r"under (k\d+)|(\d+) such", line) for line in said] == [
        [("k2", ""), ("", "0")],
        [("k6002", ""), ("", "599")],
        [("k12002", ""), ("", "599")],
    ]


def test_the_tokens_of_a_verifier_are_bounded_as_well(caplog: pytest.LogCaptureFixture) -> None:
    verifier = Verifier(exported("k1"), audience="photos")
    for number in range(2, 50):
        refused(verifier, token_under(f"k{number}"))
    assert len(caplog.records) == 1


def test_new_keys_end_it(caplog: pytest.LogCaptureFixture) -> None:
    verifier = Verifier(exported("k1"), audience="photos")
    verifier.keyring = MasterKeyring([MasterKey("k2", b"2" * 32)]).export("photos")
    assert verifier.verify(token_under("k2"), REQUEST).user == "alice"
    assert caplog.records == []


def test_who_fetches_keys_or_issues_under_them_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    refused(Verifier(exported("k1"), audience="photos", log_missing_keys=False), token_under("k2"))
    refused(Verifier(MasterKeyring([MasterKey("k1", b"1" * 32)]), audience="photos"), token_under("k2"))
    assert caplog.records == []
