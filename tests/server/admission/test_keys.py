"""The file of keys: who is known, what a refusal gives away, and what happens when the file changes."""

from __future__ import annotations

import hmac
import logging
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.admission import keys
from server.admission.caller import Terms
from server.admission.keys import Keys
from server.admission.refusals import Unauthorized
from tests.server.admission.conftest import KeyFile


def test_a_key_finds_its_terms(file: KeyFile) -> None:
    key = file.add("team-a", requests_per_minute=3, models='["base"]', name='"The A team"')
    assert Keys(file.path).find(key) == Terms("team-a", requests_per_minute=3, priority=0, models=["base"])


def test_the_file_has_no_secret(file: KeyFile) -> None:
    key = file.add("team")
    assert key.rpartition("-")[2] not in file.path.read_text()
    assert len(key.rpartition("-")[2]) == 64


@pytest.mark.parametrize(
    "wrong", ["", "lt-", "lt--", "lt-team-", "lt-team", "lt-nobody-00", "team", "ł", "lt-team-\udcff"]
)
def test_whatever_is_no_key_is_refused_and_compared(file: KeyFile, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    file.add("team")
    known, compared, compare = Keys(file.path), list[tuple[int, int]](), hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for given in (wrong, file.keys["team"][:-1], file.keys["team"] + "0"):
        with pytest.raises(Unauthorized, match="not known"):
            known.find(given)
    assert compared == [(64, 64)] * 3  # one comparison of digests, whether or not the id is there


def test_the_time_of_a_refusal_is_reported(file: KeyFile, record_property: pytest.RecordProperty) -> None:
    file.add("team")
    known = Keys(file.path)
    for kind, given in (("known id", "lt-team-" + "0" * 64), ("unknown id", "lt-nobody-" + "0" * 64)):
        took = []
        for _ in range(500):
            began = time.perf_counter_ns()
            with pytest.raises(Unauthorized):
                known.find(given)
            took.append(time.perf_counter_ns() - began)
        record_property(kind, statistics.median(took))
        assert took  # reported and not compared: times are not asserted


def test_disabled_and_expired_keys_are_told_so(file: KeyFile) -> None:
    file.add("gone", disabled="true")
    file.add("old", expires=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    file.add("young", expires=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    known = Keys(file.path)
    for id, said in (("gone", "disabled"), ("old", "expired")):
        with pytest.raises(Unauthorized, match=said):
            known.find(file.keys[id])
        with pytest.raises(Unauthorized, match="not known"):
            known.find(f"lt-{id}-wrong")  # who has not got the secret learns nothing of the entry
    assert known.find(file.keys["young"]).id == "young"


def test_a_changed_file_is_read_again(file: KeyFile) -> None:
    first = file.add("first")
    known = Keys(file.path)
    second = file.add("second")
    assert known.find(second).id == "second"
    other = KeyFile(file.path.with_name("other.toml"))
    other.add("third")
    os.replace(other.path, file.path)
    assert known.find(other.keys["third"]).id == "third"
    with pytest.raises(Unauthorized):
        known.find(first)


def test_a_wrong_file_changes_nothing_and_is_logged_once(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    key = file.add("team")
    known, good = Keys(file.path), file.path.read_text()
    with caplog.at_level(logging.INFO):
        file.path.write_text(good + "[keys.other]\nhash = 'abc-secret'\n")
        assert known.find(key).id == known.find(key).id == "team"
        assert [r.levelname for r in caplog.records] == ["ERROR"]
        file.path.unlink()
        assert known.find(key).id == known.find(key).id == "team"
        assert [r.levelname for r in caplog.records] == ["ERROR"] * 2
        file.path.write_text(good)
        file.add("late")
        assert known.find(file.keys["late"]).id == "late"
    assert "abc-secret" not in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[keys.a]", "keys.a.hash"),
        ("[keys.a]\nhash = 'SECRETxyz'", "keys.a.hash"),
        ("[keys.'a b']\nhash = '" + "0" * 64 + "'", "keys.a b"),
        ("[keys.a]\nhash = '" + "0" * 64 + "'\nmax_buget = 3", "max_buget"),
        ("[keys.a]\nhash = '" + "0" * 64 + "'\nmax_budget = 0", "max_budget"),
        ("[keys.a]\nhash = '" + "0" * 64 + "'\nexpires = 2030-01-01T00:00:00", "expires"),
        ("[key.a]\nhash = 'SECRETxyz'", "key"),
        ("[keys.a]\nhash = SECRETxyz", "line 2"),
    ],
)
def test_mistakes_are_named_and_never_quoted(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as refused:
        Keys(path)
    assert "SECRET" not in str(refused.value)
    with pytest.raises(OSError, match="none"):
        Keys(tmp_path / "none.toml")


def test_entries_do_not_show_their_hash(file: KeyFile) -> None:
    file.add("team")
    entry = keys.parse(file.path.read_text())["team"]
    assert entry.hash not in repr(entry)
