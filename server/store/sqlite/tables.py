"""What is done in the tables of `schema.sql`. Rule: who refuses does so before writing: transactions are shared."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from sqlite3 import Connection

from server.store import windows
from server.store.base import Lease, LeaseLost, Limit, Purged, Renewal, Stored
from server.store.packing import pack, unpack

SWEPT = 20
"""Runs that one sweep deletes at most; ten times as many of the small things."""


def put(tables: Connection, response: Stored, expires: float | None) -> None:
    """Keep a response in place of any other of this id."""
    _refuse(tables, response.labels)
    _delete(tables, response.id)
    run = (response.id, response.body, response.owner, response.background, expires)
    question = (response.id, pack(response.input), pack(response.context), response.order)
    tables.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", run)
    tables.execute("INSERT INTO questions VALUES (?, ?, ?, ?)", question)
    _label(tables, response.labels, "run", response.id)


def create(tables: Connection, response: Stored, holder: str, now: float, lapses: float) -> Lease:
    """Keep a new run with its first lease."""
    if find(tables, response.id, now) is not None:
        raise LeaseLost(f"there is a run {response.id} already")
    put(tables, response, None)
    tables.execute("INSERT INTO leases VALUES (?, ?, 1, ?, 0)", (response.id, holder, lapses))
    return Lease(response.id, holder, 1)


def find(tables: Connection, id: str, now: float) -> Stored | None:
    """A response that has not expired."""
    found = tables.execute(
        "SELECT body, input, context, background, expires, owner, work FROM runs JOIN questions USING (id)"
        " WHERE id = ? AND coalesce(expires, ?) > ?",
        (id, inf, now),
    ).fetchone()
    if found is None:
        return None
    body, asked, context, background, expires, owner, order = found
    labels = tables.execute("SELECT label FROM labels WHERE kind = 'run' AND id = ? ORDER BY label", (id,))
    return Stored(
        id,
        body,
        unpack(asked),
        unpack(context),
        background=bool(background),
        done=expires is not None,
        owner=owner,
        order=order,
        labels=tuple(label for (label,) in labels),
    )


def ids(tables: Connection, now: float) -> list[str]:
    """Of all responses that have not expired."""
    return [id for (id,) in tables.execute("SELECT id FROM runs WHERE coalesce(expires, ?) > ?", (inf, now))]


def delete(tables: Connection, id: str, now: float) -> bool:
    """Forget a response; whether it was there."""
    there = find(tables, id, now) is not None
    _delete(tables, id)
    return there


@dataclass(frozen=True, slots=True)
class Writing:
    """What the holder of a lease writes at once; with `expires` it is the last."""

    lease: Lease
    body: bytes | None = None
    steps: Sequence[bytes] = ()
    entries: Sequence[bytes] = ()
    expires: float | None = None
    at: int | None = None
    """The number of the first entry, where those that are there already are to be left out."""


def write(tables: Connection, writing: Writing) -> None:
    """Write what the lease allows."""
    lease = writing.lease
    if not _held(tables, lease):
        raise LeaseLost(f"the run {lease.id} is no longer held")
    if writing.body is not None:
        tables.execute("UPDATE runs SET body = ? WHERE id = ?", (writing.body, lease.id))
    _extend(tables, "steps", lease.id, writing.steps)
    _extend(tables, "entries", lease.id, writing.entries, writing.at)
    if writing.expires is not None:
        tables.execute("UPDATE runs SET expires = ? WHERE id = ?", (writing.expires, lease.id))
        tables.execute("DELETE FROM leases WHERE id = ?", (lease.id,))


def read(tables: Connection, log: str, id: str, now: float, start: int = 0, most: int = -1) -> list[bytes]:
    """A log from a number on."""
    rows = tables.execute(
        f"SELECT data FROM {log} WHERE id = ? AND number >= ?"
        " AND EXISTS (SELECT 1 FROM runs WHERE runs.id = ?1 AND coalesce(expires, ?) > ?) ORDER BY number LIMIT ?",
        (id, start, inf, now, most),
    )
    return [data for (data,) in rows]


def goes_on(tables: Connection, id: str) -> bool:
    """Whether a run is there and not done."""
    return tables.execute("SELECT 1 FROM runs WHERE id = ? AND expires IS NULL", (id,)).fetchone() is not None


def renew(tables: Connection, leases: Sequence[Lease], lapses: float) -> Renewal:
    """Let leases live on."""
    held = frozenset(lease.id for lease in leases if _held(tables, lease))
    tables.executemany("UPDATE leases SET lapses = ? WHERE id = ?", [(lapses, id) for id in held])
    cancelled = frozenset(id for (id,) in tables.execute("SELECT id FROM leases WHERE cancelled"))
    return Renewal(frozenset(lease.id for lease in leases) - held, cancelled & held)


def claim(tables: Connection, holder: str, most: int, now: float, lapses: float) -> list[Lease]:
    """Take over what has lapsed."""
    rows = tables.execute(
        "SELECT id, number FROM leases WHERE lapses <= ? ORDER BY lapses, rowid LIMIT ?", (now, most)
    ).fetchall()
    claimed = [Lease(id, holder, number + 1) for id, number in rows]
    for lease in claimed:
        values = (holder, lease.number, lapses, lease.id)
        tables.execute("UPDATE leases SET holder = ?, number = ?, lapses = ? WHERE id = ?", values)
    return claimed


def release(tables: Connection, lease: Lease, now: float) -> None:
    """Give up a lease."""
    if _held(tables, lease):
        tables.execute("UPDATE leases SET holder = '', lapses = ? WHERE id = ?", (now, lease.id))
        tables.execute("UPDATE changes SET number = number + 1")


def cancel(tables: Connection, id: str) -> None:
    """Leave word for the holder."""
    if tables.execute("UPDATE leases SET cancelled = 1 WHERE id = ?", (id,)).rowcount:
        tables.execute("UPDATE changes SET number = number + 1")


def value(tables: Connection, key: str, now: float) -> bytes | None:
    """A value that has not expired."""
    found = tables.execute("SELECT data FROM kept WHERE key = ? AND expires > ?", (key, now)).fetchone()
    return None if found is None else bytes(found[0])


def keep(
    tables: Connection, key: str, data: bytes, expires: float, *, free_at: float | None, labels: Sequence[str] = ()
) -> bool:
    """Keep a value; with `free_at` only where there is none at that time."""
    _refuse(tables, labels)
    if free_at is not None and value(tables, key, free_at) is not None:
        return False
    forget(tables, key)
    tables.execute("INSERT INTO kept VALUES (?, ?, ?)", (key, data, expires))
    _label(tables, labels, "value", key)
    return True


def forget(tables: Connection, key: str) -> None:
    """Forget a value."""
    tables.execute("DELETE FROM kept WHERE key = ?", (key,))


@contextmanager
def counted(tables: Connection, limits: Sequence[Limit], now: float) -> Generator[dict[windows.Slot, int], None, None]:
    """What is used under these limits in their present windows, to be changed."""
    used: dict[windows.Slot, int] = {}
    for slot in {windows.slot(limit, now) for limit in limits}:
        found = tables.execute("SELECT used FROM counts WHERE key = ? AND seconds = ? AND number = ?", slot).fetchone()
        used[slot] = found[0] if found else 0
    before = dict(used)
    yield used
    rows = [(*slot, n, (slot[2] + 1) * slot[1]) for slot, n in used.items() if n != before[slot]]
    tables.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?, ?)", rows)


def purge(tables: Connection, label: str, expires: float) -> int:
    """Forget what has a label, and note that nothing of it is kept."""
    tables.execute("INSERT OR REPLACE INTO purged VALUES (?, ?)", (label, expires))
    found = tables.execute("SELECT kind, id FROM labels WHERE label = ?", (label,)).fetchall()
    for kind, id in found:
        _delete(tables, id) if kind == "run" else forget(tables, id)
    return len(found)


def sweep(tables: Connection, now: float) -> bool:
    """Delete some of what has expired; whether there may be more."""
    runs = tables.execute("SELECT id FROM runs WHERE expires <= ? LIMIT ?", (now, SWEPT)).fetchall()
    for (id,) in runs:
        _delete(tables, id)
    rows = len(runs)
    for table, key in (("kept", "key"), ("counts", "key, seconds, number"), ("purged", "label")):
        rows += tables.execute(
            f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE expires <= ? LIMIT ?)",
            (now, 10 * SWEPT),
        ).rowcount
    return rows >= SWEPT


def _delete(tables: Connection, id: str) -> None:
    for table in ("runs", "questions", "leases", "entries", "steps"):
        tables.execute(f"DELETE FROM {table} WHERE id = ?", (id,))


def _refuse(tables: Connection, labels: Sequence[str]) -> None:
    for label in labels:
        if tables.execute("SELECT 1 FROM purged WHERE label = ?", (label,)).fetchone():
            raise Purged(f"nothing of {label} is kept")


def _label(tables: Connection, labels: Sequence[str], kind: str, id: str) -> None:
    tables.executemany("INSERT INTO labels VALUES (?, ?, ?)", [(label, kind, id) for label in dict.fromkeys(labels)])


def _held(tables: Connection, lease: Lease) -> bool:
    wanted = (lease.id, lease.holder, lease.number)
    found = tables.execute("SELECT 1 FROM leases WHERE id = ? AND holder = ? AND number = ?", wanted)
    return found.fetchone() is not None


def _extend(tables: Connection, log: str, id: str, items: Sequence[bytes], at: int | None = None) -> None:
    if items:
        (length,) = tables.execute(f"SELECT coalesce(max(number) + 1, 0) FROM {log} WHERE id = ?", (id,)).fetchone()
        new = items if at is None else items[max(length - at, 0) :]
        rows = [(id, number, item) for number, item in enumerate(new, length)]
        tables.executemany(f"INSERT INTO {log} VALUES (?, ?, ?)", rows)
