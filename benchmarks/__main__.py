"""`longthink bench`: picks the benchmark. Rule: only the benchmark that was asked for is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

COMMANDS = {
    "accuracy": "share of right answers over the tokens spent, against a running endpoint",
    "interaction": "share of right answers on the built-in sites over the budget of interactions",
    "suite": "many accuracy runs from one file, in one table",
    "load": "requests per second, latency, token times and errors of an endpoint under load",
    "peers": "longthink beside optillm and its_hub over the same upstream, in one run",
    "streams": "memory, latency and leaks of a server with many streams open at once",
    "engine": "tokens per second of the embedded engine",
    "tenants": "requests per second of the embedded engine while tenants alternate",
    "overhead": "tokens per second of decoders beside the same engine calls made raw",
    "stores": "writes per second of each store, and how long one takes",
    "durability": "requests per second with each store beside runs kept in memory",
    "plot": "a picture of accuracy against generated tokens or cost from the results of `accuracy`",
    "panels": "a small picture for each decoder of the same results",
    "interaction-picture": "success over the budget of interactions as a picture",
    "figures": "results of `accuracy` and `interaction` as a few figures a setting, small enough to be kept",
    "page": "those figures as the tables of the docs",
    "fake-upstream": "an OpenAI-compatible server without a model, for measurements of what stands before one",
    "compare": "two results of `accuracy` at equal tokens or equal cost, problem by problem",
    "survey": "every decoder on every synthetic family, into tables and pictures of the docs",
    "cutback": "runs that are cut back to a budget beside runs that were told it",
    "regret": "how far each decoder stays behind over all budgets up to one, as a curve",
    "ladder": "from results of `accuracy` to the table that the decoder `auto` chooses by",
}

Command = Callable[[Sequence[str]], int | None]


def usage() -> str:
    """The commands and what they measure."""
    lines = [f"  {name:<15}{about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: longthink bench COMMAND [options]",
            "",
            *lines,
            "",
            "longthink bench COMMAND --help tells the options.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and return its exit status: 0, 1 after errors in the measurement, 2 after wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"unknown benchmark {name!r}\n{usage()}", file=sys.stderr)
        return 2
    run = cast("Command", import_module(f"benchmarks.{name.replace('-', '_')}").main)
    return run(rest) or 0


if __name__ == "__main__":
    sys.exit(main())
