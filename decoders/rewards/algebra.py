"""The program that compares answers: two of them and seconds come in as JSON, a line each, `equal` or `other` goes out.

Rule: it stands alone and trusts no input. It has little memory, and the system ends it where an answer takes too long,
also when nobody waits for it any more.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys

MEMORY = 2 << 30
"""Bytes of address space; the imports alone take about 300 million."""


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a parent that ignores it has children that do
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable()
    boxed_first = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())

    def equal(right: str, given: str) -> bool:
        # its own timeouts are exceptions, which wait for the end of a long multiplication
        wanted = parse(f"\\boxed{{{right}}}", boxed_first, parsing_timeout=None)
        return bool(verify(wanted, parse(given, boxed_first, parsing_timeout=None), timeout_seconds=None))

    print("ready", flush=True)
    for line in sys.stdin:
        right, given, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # unhandled, so it kills, whatever is going on
        try:
            found = equal(right, given)
        except Exception:  # whatever computer algebra makes of a model's text: it has not been found equal
            found = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("equal" if found else "other", flush=True)


if __name__ == "__main__":
    main()
