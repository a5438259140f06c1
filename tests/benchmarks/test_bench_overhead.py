"""The raw side makes the calls that the decoders made: as many tokens, and none before those it had to wait for."""

from __future__ import annotations

import asyncio

from benchmarks.overhead import Bench, Case, parser, report
from decoders import build
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine


def measured(*names: str, rounds: int = 2) -> list[Case]:
    pack = Pack.load("plain")
    options = parser().parse_args(["--rounds", str(rounds), "--concurrency", "3", "--slots", "2", "--budget", "4000"])
    cases = [
        Case(build(name, {"turns": 3} if name == "rc" else {"n": 4}, pack), ["one", "two", "six"]) for name in names
    ]
    asyncio.run(Bench(ScriptedEngine(), pack, options).measure(cases))
    return cases


def test_both_sides_generate_the_same_tokens() -> None:
    for case in measured("rc", "best_of_n", "self_consistency"):
        assert len({made.tokens for made in (*case.decoded, *case.raw)}) == 1
        assert case.raw[0].tokens > 0
        assert len(case.ratios) == 2


def test_calls_wait_for_those_that_had_ended() -> None:
    (case,) = measured("rc", rounds=1)
    for calls in case.calls:
        assert [len(call.after) for call in calls] == [0, 1, 2, 3, 4]
    (case,) = measured("best_of_n", rounds=1)
    for first, *verifications in case.calls:
        assert first.sampling.n == 4
        assert {call.after for call in verifications} == {(0,)}, "verifications run side by side"


def test_the_table_has_a_line_for_each_decoder() -> None:
    lines = report(measured("self_consistency", rounds=1)).splitlines()
    assert lines[2].startswith("| self_consistency |")
