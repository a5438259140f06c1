"""`longthink traces`: problems that a model never solves, and solutions of them, as files that recipes train from."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tasks
from benchmarks.tasks import mined
from benchmarks.tasks.mined import Mined, Place
from decoders.core.errors import LongThinkError
from training.configuration import literal
from training.traces import export, search, write
from training.traces.search import Found
from training.traces.sources import options, playing


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand; returns the exit status, 2 for a mistake."""
    given = parser().parse_args(arguments)
    try:
        if given.output.exists():
            raise ValueError(f"{given.output} is there already")
        print(asyncio.run(given.run(given)))
    except (ValueError, OSError, LongThinkError) as error:
        print(f"longthink traces: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of all subcommands."""
    made = argparse.ArgumentParser(prog="longthink traces", description=__doc__, allow_abbrev=False)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    mine = commands.add_parser("mine", help="the problems that a model solves in none of many samples")
    _model(mine)
    _pool(mine)
    mine.add_argument("--samples", type=int, default=128, help="of each problem (default: 128)")
    mine.add_argument("--max-tokens", type=int, default=160, help="of a sample at most (default: 160)")
    mine.set_defaults(run=_mine)
    collect = commands.add_parser("collect", help="solutions of such problems by a decoder that finds more")
    _model(collect)
    collect.add_argument("--problems", type=Path, required=True, metavar="FILE", help="what `mine` has written")
    collect.add_argument("--decoder", default="rc", help="default: rc")
    collect.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the decoder")
    collect.add_argument("--max-tokens", type=int, default=8192, help="of a try, all steps together (default: 8192)")
    collect.add_argument("--tries", type=int, default=4, help="of each problem at most (default: 4)")
    collect.set_defaults(run=_collect)
    exported = commands.add_parser("export", help="right answers that a server has kept and may be learned from")
    exported.add_argument("--store", required=True, help="the server's: sqlite:PATH, redis://HOST:PORT/DB, …")
    exported.add_argument("--redis-prefix", default="longthink:", help="as the server's (default: longthink:)")
    _pool(exported)
    exported.set_defaults(run=_export)
    for command in (mine, collect, exported):
        command.add_argument("--output", type=Path, required=True, metavar="FILE", help="a new file of JSON lines")
    return made


def _model(to: argparse.ArgumentParser) -> None:
    to.add_argument("--model", help="a checkpoint's folder, or the name of a shipped one or of an upstream's model")
    to.add_argument(
        "--upstream", action="append", default=[], metavar="URL", help="ask a server instead, as serve does"
    )
    to.add_argument("--pack", help="the prompts, where they are not the model's own")
    to.add_argument("--temperature", type=float, help="instead of the checkpoint's own")
    to.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    to.add_argument("--concurrency", type=int, default=32, help="problems at a time (default: 32)")


def _pool(to: argparse.ArgumentParser) -> None:
    to.add_argument("--task", default="countdown", help="as for bench accuracy (default: countdown)")
    to.add_argument("--level", default="hard", help="default: hard")
    to.add_argument("--split", default="train", help="default: train")
    to.add_argument("--problems", type=int, default=200, help="the first of them (default: 200)")
    to.add_argument("--problem-seed", type=int, default=0, help="default: 0")


def _place(given: argparse.Namespace) -> Place:
    return Place(given.task, given.level, given.split, given.problems, given.problem_seed, "")


async def _mine(given: argparse.Namespace) -> str:
    pool = _place(given)
    problems = tasks.problems(pool.task, pool.level, pool.split, pool.of, pool.seed)
    async with playing(options(given.model, given.upstream, given.pack), given.seed, given.temperature) as play:
        lines = search.mine(pool, problems, play, given.samples, given.max_tokens, given.concurrency)
        found, tokens = await _written(lines, given.output)
    return f"{found} of {len(problems)} problems solved in none of {given.samples} samples; {tokens:,} tokens"


async def _collect(given: argparse.Namespace) -> str:
    places = Mined(given.problems).places()
    pairs = [(replace(place, id=""), problem) for place, problem in zip(places, mined.found(places), strict=True)]
    chosen: dict[str, Any] = {"name": given.decoder}
    for change in given.set:
        name, sign, value = change.partition("=")
        if not sign:
            raise ValueError(f"--set {change}: NAME=VALUE is wanted")
        chosen[name] = literal(value)
    async with playing(options(given.model, given.upstream, given.pack), given.seed, given.temperature) as play:
        decoder, most = play.decoder(chosen), given.concurrency
        budget, tries = given.max_tokens, given.tries
        lines = search.collect(pairs, play, decoder, chosen, budget=budget, tries=tries, most=most)
        found, tokens = await _written(lines, given.output)
    return f"{found} of {len(pairs)} problems solved; {tokens:,} tokens"


async def _export(given: argparse.Namespace) -> str:
    told = export.Told()
    pool = _place(given)
    problems = tasks.problems(pool.task, pool.level, pool.split, pool.of, pool.seed)
    async for solution in export.export(given.store, given.redis_prefix, pool, problems, told):
        write(given.output, [solution])
    return str(told)


async def _written(lines: AsyncGenerator[Found, None], path: Path) -> tuple[int, int]:
    """How many lines there were, and all tokens that the search took."""
    count = tokens = 0
    write(path, [])
    async for found in lines:
        tokens += found.tokens
        if found.line is not None:
            write(path, [found.line])
            count += 1
    return count, tokens


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
