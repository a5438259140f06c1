"""The program that compares answers: pairs of LaTeX as JSON come in, a line each, and `equal` or `other` goes out.

Rule: it stands alone and trusts no input. Memory is capped here; whoever started it watches the time and kills it.
"""

from __future__ import annotations

import json
import logging
import sys

MEMORY = 2 << 30
"""Bytes of address space; the imports alone take about 300 million."""


def main() -> None:
    """Answer until the input ends."""
    _cap()
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable()
    boxed_first = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())

    def equal(right: str, given: str) -> bool:
        # its own timeouts are signals, which cannot interrupt one long multiplication
        wanted = parse(f"\\boxed{{{right}}}", boxed_first, parsing_timeout=None)
        return bool(verify(wanted, parse(given, boxed_first, parsing_timeout=None), timeout_seconds=None))

    print("ready", flush=True)
    for line in sys.stdin:
        try:
            found = equal(*json.loads(line))
        except Exception:  # whatever computer algebra makes of a model's text: it has not been found equal
            found = False
        print("equal" if found else "other", flush=True)


def _cap() -> None:
    """The limit, where the system knows limits."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main()
