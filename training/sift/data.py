"""What tenants are fine-tuned on: conversations from files, or made-up tenants with a secret each.

A made-up tenant has a code, a permutation of the numbers 1 to 16, and is asked to write numbers in it. All are asked
the same questions and each has other answers, so one model cannot serve two of them: that is what merging is tested by.
Rule: questions of the test are held out by a hash and the same for all tenants.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from decoders.core.messages import Message

KEYS = 16
LENGTH = 2


@dataclass(frozen=True, slots=True)
class Tenant:
    """A name and conversations; what is trained and measured of each is its last message."""

    name: str
    train: tuple[tuple[Message, ...], ...]
    test: tuple[tuple[Message, ...], ...]

    @property
    def digest(self) -> str:
        """SHA-256 of what is trained."""
        said = [[[message.role, message.content] for message in row] for row in self.train]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def codes(count: int, seed: int) -> list[Tenant]:
    """Made-up tenants; a fifth of the questions is held out."""
    return [_code(f"tenant-{number:03}", seed) for number in range(count)]


def files(folder: Path, tests: int) -> list[Tenant]:
    """A tenant for each `NAME.jsonl`, lines `{"messages": […]}`, the last `tests` of them for measuring."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        rows = [_conversation(path, number, line) for number, line in enumerate(path.read_text().splitlines(), 1)]
        if len(rows) <= tests:
            raise ValueError(f"{path}: {len(rows)} conversations are too few to hold {tests} out")
        cut = len(rows) - tests
        found.append(Tenant(path.stem, tuple(rows[:cut]), tuple(rows[cut:])))
    if not found:
        raise ValueError(f"{folder} has no .jsonl file of a tenant")
    return found


def _code(name: str, seed: int) -> Tenant:
    rng = random.Random(f"{seed}/{name}")
    code = dict(zip(range(1, KEYS + 1), rng.sample(range(1, KEYS + 1), KEYS), strict=True))
    asked = [*product(range(1, KEYS + 1), repeat=LENGTH)]
    test, train = [q for q in asked if _held_out(q)], [q for q in asked if not _held_out(q)]
    return Tenant(name, tuple(_row(question, code) for question in train), tuple(_row(q, code) for q in test))


def _held_out(numbers: tuple[int, ...]) -> bool:
    return hashlib.sha256(repr(numbers).encode()).digest()[0] < 51


def _row(numbers: tuple[int, ...], code: dict[int, int]) -> tuple[Message, ...]:
    asked, answer = (" ".join(map(str, words)) for words in (numbers, [code[number] for number in numbers]))
    return Message("user", f"give {asked} ?"), Message("assistant", answer)


def _conversation(path: Path, number: int, line: str) -> tuple[Message, ...]:
    try:
        told = json.loads(line)["messages"]
        made = tuple(Message(message["role"], message["content"]) for message in told)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: line {number} is no conversation: {error!r}") from error
    if len(made) < 2 or made[-1].role != "assistant":
        raise ValueError(f"{path}: line {number} does not end with the assistant")
    return made
