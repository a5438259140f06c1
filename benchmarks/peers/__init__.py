"""`longthink bench peers`: longthink beside other servers for test-time scaling, in one run over one upstream.

Each server is a process of its own before the same fake upstream, which answers after `--delay` milliseconds without a
model, so that what is measured is the servers. In every round all of them first get requests one at a time, which shows
what they add to the upstream's latency, then `--concurrency` at a time over kept connections. Every second round goes
the other way.

What the peers are: the releases that `installation.py` names, from PyPI, in virtual environments of their own under
`--environments`, made on demand. longthink runs with its defaults, a log line for each request included; the peers with
as little logging as they offer. What is compared, and how alike it is, stands in `contenders.py`.

Rule: one run, one machine, one upstream. A ratio is of figures of one round; no peer's figure comes from elsewhere.
"""

from benchmarks.peers.command import main

__all__ = ["main"]
