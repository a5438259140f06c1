"""Merged models as folders: exact to the last bit, whatever comes and goes, and audited."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.core.errors import NotKept, UnknownModel
from server.engines.tenants.audit import audit
from server.engines.tenants.chain import BrokenChain
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.signs import signs
from server.engines.tenants.sums import Contribution, Floats, Sums, unpacked
from server.engines.tenants.terms import Terms, base_digest
from tests.engines.tenants import changes

SHAPES = {"a": (5, 7), "b": (9,)}
BASE = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}


def terms(**options: object) -> Terms:
    return Terms(base_digest(BASE), 7, SHAPES, **options)  # type: ignore[arg-type]


def ledger(folder: Path, *tenants: int, **options: object) -> Ledger:
    made = Ledger.create(folder, terms(**options))
    for number in tenants:
        made.add(f"t{number}", changes(made.terms, number))
    return made


def test_signs_are_those_of_the_seed_forever() -> None:
    found = signs(1, "w", (64, 3))
    assert hashlib.sha256(np.packbits(found).tobytes()).hexdigest()[:16] == "1cca17403f3bf2dc"
    assert not np.array_equal(found, signs(2, "w", (64, 3)))
    assert not np.array_equal(found, signs(1, "v", (64, 3)))
    assert 0.45 < signs(1, "w", (100, 100)).mean() < 0.55


def test_a_thousand_deletions_and_additions_leave_what_those_who_are_left_make() -> None:
    rng, sums, there = random.Random(0), Sums.empty(SHAPES), set[int]()
    tenants = [Contribution.of(changes(terms(), number)) for number in range(40)]
    for _ in range(1000):
        number = rng.randrange(len(tenants))
        sums = sums.plus(tenants[number], -1 if number in there else 1)
        there ^= {number}
    left = sorted(there)
    rng.shuffle(left)
    assert 0 < len(left) < len(tenants)
    assert sums.digest == Sums.of(SHAPES, [tenants[number] for number in left]).digest


def test_so_it_is_on_the_disk(tmp_path: Path) -> None:
    rng, made = random.Random(0), ledger(tmp_path / "x")
    for _ in range(60):
        number = rng.randrange(6)
        there = f"t{number}" in made.names()
        made.delete(f"t{number}") if there else made.add(f"t{number}", changes(made.terms, number))
    found = audit(made, seed=1)
    assert (found.problems, found.entries) == ((), 60)
    again = Ledger(made.folder)
    assert (again.entries, again.sums.digest) == (made.entries, found.state)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=6), st.randoms())
def test_sums_do_not_depend_on_the_order(values: list[float], rng: random.Random) -> None:
    shapes = {"w": (1,)}
    parts = [Contribution.of({"w": np.array([value], np.float32)}) for value in values]
    mixed = Sums.of(shapes, parts).plus(parts[0], -1)
    rest = parts[1:]
    rng.shuffle(rest)
    assert mixed.digest == Sums.of(shapes, rest).digest


def test_floats_would_not_do() -> None:
    """Why sums are whole numbers: what is added and taken out again leaves something behind."""
    a, b = np.float32(1.0), np.float32(1e-8)
    assert (a + b) - a != b


def test_a_model_is_the_base_and_the_masked_mean(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 0, 1, 2)
    own, others = changes(made.terms, 0), [changes(made.terms, number) for number in range(3)]
    weights = made.weights("t0", BASE)
    for name in SHAPES:
        mean = np.mean([change[name] for change in others], axis=0, dtype=np.float64)
        assert np.allclose(weights[name], 1 + np.where(own[name] != 0, mean, 0), atol=1e-6)
        assert np.array_equal(unpacked(made.mask("t0"), name, SHAPES[name]), own[name] != 0)


def test_divided_by_users_an_entry_of_one_tenant_is_its_own(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 0, 1, divide_by="users")
    own, other = changes(made.terms, 0), changes(made.terms, 1)
    alone = (own["a"] != 0) & (other["a"] == 0)
    assert alone.any()
    assert np.allclose(made.weights("t0", BASE)["a"][alone], 1 + own["a"][alone], atol=1e-6)


def test_b_of_a_lora_is_merged_as_exactly(tmp_path: Path) -> None:
    base: dict[str, Floats] = {"w": np.ones((4, 16), np.float32)}
    made = Ledger.create(tmp_path / "x", Terms(base_digest(base), 7, {"w": (4, 2)}, rank=2, alpha=4.0))
    for number in range(2):
        made.add(f"t{number}", changes(made.terms, number))
    a, b = made.terms.projection("w", 16), changes(made.terms, 0)["w"]
    assert set(np.abs(a).ravel()) == {0.25}
    made.delete("t1")
    assert np.allclose(made.weights("t0", base)["w"], 1 + 2 * b @ a, atol=1e-6)


def test_a_deletion_leaves_no_file_that_depends_on_the_tenant(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 0, 1)
    made.delete("t0")
    files = {str(path.relative_to(made.folder)) for path in made.folder.rglob("*") if path.is_file()}
    kept = {f"{place}/t1.safetensors" for place in ("masks", "contributions")}
    assert files == {"ledger.json", "log.jsonl", "lock", "sums-2.safetensors", *kept}
    never = ledger(tmp_path / "never", 1)
    sums = [(folder / f"sums-{n}.safetensors").read_bytes() for folder, n in ((made.folder, 2), (never.folder, 0))]
    assert sums[0] == sums[1]
    with pytest.raises(UnknownModel):
        made.mask("t0")


def test_who_was_not_kept_is_taken_out_by_what_was_added_and_by_nothing_else(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 1)
    made.add("t0", changes(made.terms, 0), keep=False)
    with pytest.raises(NotKept):
        made.delete("t0")
    with pytest.raises(ValueError, match="not what was added"):
        made.delete("t0", Contribution.of(changes(made.terms, 2)))
    made.delete("t0", Contribution.of(changes(made.terms, 0)))
    assert made.sums.digest == ledger(tmp_path / "never", 1).state


def test_an_audit_notices_what_was_changed(tmp_path: Path) -> None:
    def problems(name: str, change: str) -> tuple[str, ...]:
        made = ledger(tmp_path / name, 0, 1)
        if change == "mask":
            (made.folder / "masks" / "t0.safetensors").write_bytes(
                (made.folder / "masks" / "t1.safetensors").read_bytes()
            )
        elif change == "sums":
            made.sums.totals["b"][0] += 1
        else:
            (made.folder / "masks" / "t9.safetensors").write_bytes(b"")
        return audit(made).problems

    assert any("mask of t0" in problem for problem in problems("1", "mask"))
    assert problems("2", "sums") == (
        "the sums are not those of the tenants that are there",
        "the sums are not those that the log tells of",
    )
    assert problems("3", "file") == ("masks/t9.safetensors belongs to nobody who is there",)


def test_a_log_that_was_rewritten_is_refused(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 0, 1, 2)
    log = made.folder / "log.jsonl"
    lines = log.read_text().splitlines()
    told = json.loads(lines[0])
    log.write_text("\n".join([json.dumps({**told, "tenant": "other"}), *lines[1:]]) + "\n")
    with pytest.raises(BrokenChain):
        Ledger(made.folder)
    log.write_text("\n".join([lines[0], lines[2]]) + "\n")
    with pytest.raises(BrokenChain):
        Ledger(made.folder)


def test_a_change_that_was_cut_short_never_happened(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 0, 1)
    state, log = made.state, made.folder / "log.jsonl"
    (made.folder / "sums-2.safetensors").write_bytes(b"half")
    (made.folder / "masks" / "t2.safetensors").write_bytes(b"half")
    log.write_bytes(log.read_bytes() + b'{"number": 2')
    again = Ledger(made.folder)
    assert (again.names(), again.state) == (["t0", "t1"], state)
    again.add("t2", changes(made.terms, 2))
    assert audit(Ledger(made.folder)).problems == ()


def test_another_process_sees_each_change(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x", 0, 1)
    other = Ledger(made.folder)
    label = other.label("t0")
    made.delete("t0")
    assert other.refresh()
    assert not other.refresh()
    assert (other.names(), other.departed) == (["t1"], {label})
    made.add("t0", changes(made.terms, 0))
    other.refresh()
    assert other.label("t0") != label


@pytest.mark.parametrize("name", ["", "a b", "a@b", "../x", "a" * 65])
def test_names_that_could_be_taken_for_something_else_are_refused(tmp_path: Path, name: str) -> None:
    made = ledger(tmp_path / "x")
    with pytest.raises(ValueError, match="no name"):
        made.add(name, changes(made.terms, 0))


def test_changes_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    made = ledger(tmp_path / "x")
    with pytest.raises(ValueError, match="not finite"):
        made.add("t", {**changes(made.terms, 0), "b": np.full(9, np.nan, np.float32)})
    with pytest.raises(ValueError, match="other tensors"):
        made.add("t", {"a": changes(made.terms, 0)["a"]})
    assert made.names() == []
