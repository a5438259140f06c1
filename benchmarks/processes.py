"""What a running process uses. Rule: workers count as their server, so in CPU time the children are always included."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def resident_bytes(pid: int) -> int:
    """Memory of one process that is in RAM, from `/proc/PID/statm`, field 2. Linux only."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    """File descriptors that one process has open. Linux only."""
    return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process and its descendants so far, in steps of a clock tick (10 ms); 0 of None.

    Read from `/proc/PID/stat`, fields 14 to 17 (proc(5)): Linux only. `ValueError` if there is no such process.
    """
    if pid is None:
        return 0.0
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):  # the process has just ended
            # the name, in parentheses, may hold spaces; the fields after it are numbered from 3
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks[int(folder.name)] = sum(map(int, fields[11:15]))
            children[int(fields[1])].append(int(folder.name))
    if pid not in ticks:
        raise ValueError(f"there is no process {pid} to be seen here")
    family = [pid]
    for member in family:
        family += children[member]
    return sum(ticks[member] for member in family) / os.sysconf("SC_CLK_TCK")
