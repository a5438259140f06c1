"""Mathematical answers: equal in value, not only in letters, by math-verify.

Rule: a model's answer is hostile until it is compared. Computer algebra hangs on `9^{9^{9^9}}`, so it runs in processes
of its own, with little memory and a deadline; an answer that is not found equal in time is wrong.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import LifoQueue

from decoders.rewards import exact

LONGEST = 2000
"""Characters: a longer final answer is wrong, and of a reply without a box so many are read from its end."""
WORKERS = min(4, os.cpu_count() or 1)
SECONDS = 5.0


def check(right: str, reply: str) -> bool:
    """Whether the reply's final answer equals `right`.

    It may take as long as the deadline, so keep it off event loops. `ValueError` without math-verify, unless the texts
    are the same or both are whole numbers, which needs no algebra.
    """
    given = exact.final(reply)
    if exact.same(right, given):
        return True
    if exact.is_number(right) and exact.is_number(given):
        return False
    if given == reply.strip():
        return _pool(os.getpid()).equal(right, reply[-LONGEST:])
    return len(given) <= LONGEST and _pool(os.getpid()).equal(right, f"\\boxed{{{given}}}")


def require() -> None:
    """Raises `ValueError` where answers cannot be compared."""
    if os.name != "posix":
        raise ValueError("mathematical answers are checked under limits that only POSIX systems have")
    if find_spec("math_verify") is None:
        raise ValueError("mathematical answers need math-verify to be checked: pip install 'longthink[math]'")


class Worker:
    """A process that runs `algebra.py`. One caller at a time."""

    def __init__(self) -> None:
        require()
        # -P: this folder has a `math.py`, which must not become the standard library's in there
        command = [sys.executable, "-P", str(Path(__file__).with_name("algebra.py"))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        if self._stdout.readline() != b"ready\n":
            self.close()
            raise ValueError("math-verify cannot be loaded: python -c 'import math_verify' says why")

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.returncode is None

    def equal(self, right: str, given: str, seconds: float) -> bool:
        """Whether they are equal; False also where it took too long or broke the process, which is then over."""
        try:
            self._stdin.write(json.dumps([right, given, seconds]).encode() + b"\n")
            line = self._stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            self.close()
        return line == b"equal\n"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with self._process:
            pass


class Pool:
    """Workers, started when they are first needed. Many threads may ask; each waits for a worker that is free."""

    def __init__(self, workers: int = WORKERS, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._idle: LifoQueue[Worker | None] = LifoQueue()
        for _ in range(workers):
            self._idle.put(None)

    def equal(self, right: str, given: str) -> bool:
        """Whether both are the same in value, as far as could be found out within the deadline."""
        worker = self._idle.get()
        try:
            worker = worker or Worker()
            return worker.equal(right, given, self._seconds)
        finally:
            self._idle.put(worker if worker and worker.alive else None)

    def close(self) -> None:
        """End the workers that are idle; more are started if it is asked again."""
        for _ in range(self._idle.qsize()):
            if worker := self._idle.get():
                worker.close()
            self._idle.put(None)


@cache
def _pool(process: int) -> Pool:
    """The pool of this process: a forked child must not read its parent's answers."""
    pool = Pool()
    atexit.register(pool.close)
    return pool
