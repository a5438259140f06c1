"""The expert that shows `longthink-tiny` how to play Countdown: reasoning turns, summaries, checks and hints.

Every reply is a list of words, one token each. A turn searches the units of a problem (`benchmarks.tasks.countdown`) in
a fixed cyclic order and is cut by its budget; the summary is a cursor of constant size, from which the next turn goes
on. Rule: states come from at most `HORIZON` turns after a fresh start, so more turns at test time are extrapolation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.tasks.countdown import Numbers, Problem, Step, Unit, steps, units
from decoders.rewards.countdown import LARGEST, OPERATORS, combine

HORIZON = 3
FORBIDDEN = "x"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the search: node `node` of unit `unit` was the last one looked at."""

    unit: int
    node: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply, cut to its budget, and what it leaves behind: a cursor or a solution (as far as the cut shows it)."""

    words: list[str]
    cursor: Cursor | None
    solution: tuple[Step, ...] | None
    complete: bool


def say(step: Step) -> list[str]:
    """`8 + 5 = 13`, or `12 * 11 x` where the rules forbid the result."""
    head = [str(step.a), step.operator, str(step.b)]
    return [*head, FORBIDDEN] if step.result is None else [*head, "=", str(step.result)]


def say_all(path: tuple[Step, ...]) -> list[str]:
    """Steps separated by commas: the form of an answer."""
    words: list[str] = []
    for step in path:
        words += [",", *say(step)] if words else say(step)
    return words


@lru_cache(maxsize=50_000)
def header(unit: Unit) -> tuple[str, ...]:
    """`8 + 5 = 13 left 13 9 5`, the name of a unit in traces and summaries."""
    left = () if unit.left is None else ("left", *map(str, unit.left))
    return (*say_all(unit.path), *left)


@lru_cache(maxsize=200_000)
def look(step: Step, target: int) -> tuple[tuple[str, ...], Step | None]:
    """The words of one node and, when one of its three ends is the target, the last step of the solution."""
    if step.result is None:
        return (*say(step), ";"), None
    high, low = step.left
    other = low if high == step.result else high
    words = [*say(step), str(other), str(target), ":"]
    for operator in OPERATORS:
        result = combine(high, operator, low)
        words.append(FORBIDDEN if result is None else str(result))
        if result == target:
            return (*words, "yes"), Step(high, operator, low, result, (result,))
    return (*words, ";"), None


def search(problem: Problem, start: Cursor, budget: int, opening: list[str] | None = None) -> Turn:
    """Look at nodes from `start` on (inclusive) until a solution is found or `budget` words are written."""
    space, words, cursor = units(problem.numbers), opening or ["<think>"], None
    index, node = start.unit, start.node
    while len(words) < budget:
        unit = space[index]
        nodes = steps(unit.left) if unit.left else ()
        if node < len(nodes):
            words += ["try", *header(unit), "target", str(problem.target), ":"]
        elif unit.left is None:
            words += ["try", *header(unit), ";"]
        while node < len(nodes) and len(words) < budget:
            node_words, last = look(nodes[node], problem.target)
            words += node_words
            if len(words) <= budget:
                cursor = Cursor(index, node)
                if last:
                    return _conclude(words, (*unit.path, nodes[node], last), budget, cursor)
            node += 1
        index, node = (index + 1) % len(space), 0
    return Turn(words[:budget], cursor, None, complete=False)


def _conclude(words: list[str], solution: tuple[Step, ...], budget: int, cursor: Cursor) -> Turn:
    words = [*words, "</think>", *say_all(solution)]
    return Turn(words[:budget], cursor, solution, complete=len(words) < budget)


def summarise(problem: Problem, turn: Turn, before: list[str]) -> list[str]:
    """The state after a turn: the solution, or the cursor, or what the summary before it said."""
    if turn.solution:
        return ["answer", *say_all(turn.solution)]
    if turn.cursor is None:
        return before or ["none"]
    unit = units(problem.numbers)[turn.cursor.unit]
    assert unit.left is not None
    node = steps(unit.left)[turn.cursor.node]
    return ["at", *header(unit), "after", str(node.a), node.operator, str(node.b)]


def check(problem: Problem, claim: tuple[Step, ...]) -> list[str]:
    """Redo a claimed solution: each result, the numbers then left, and in the end yes or no."""
    left, words = list(problem.numbers), ["check"]
    for i, step in enumerate(claim):
        words += [","] if i else []
        if not _take(left, step.a) or not _take(left, step.b):
            return [*words, "no"]
        result = combine(step.a, step.operator, step.b)
        words.append(FORBIDDEN if result is None else str(result))
        if result is None or result != step.result:
            return [*words, "no"]
        left = sorted([*left, result], reverse=True)
        if len(left) > 1:
            words += [":", *map(str, left)]
    return [*words, "yes" if left == [problem.target] else "no"]


def _take(left: list[int], number: int) -> bool:
    if number not in left:
        return False
    left.remove(number)
    return True


def after_check(problem: Problem, claim: tuple[Step, ...], rng: random.Random, budget: int) -> Turn:
    """The turn that follows a summary with an answer: check it, then repeat it or go on searching behind it."""
    words = ["<think>", *check(problem, claim)]
    if words[-1] == "yes":
        return _conclude(words, claim, budget, Cursor(0, 0))
    return search(problem, _place(problem, claim) or random_start(problem, rng), budget, [*words, ";"])


def _place(problem: Problem, claim: tuple[Step, ...]) -> Cursor | None:
    """The node behind the one that a claim came from, if the claim starts with steps of the search space."""
    space = units(problem.numbers)
    depth = len(problem.numbers) - 3
    wanted = [(s.a, s.operator, s.b) for s in claim[: depth + 1]]
    for index, unit in enumerate(space):
        if unit.left is None or [(s.a, s.operator, s.b) for s in unit.path] != wanted[:depth]:
            continue
        nodes = [(s.a, s.operator, s.b) for s in steps(unit.left)]
        return Cursor(index, nodes.index(wanted[depth]) + 1 if wanted[depth] in nodes else 0)
    return None


def random_start(problem: Problem, rng: random.Random) -> Cursor:
    """A fresh start: the first node of any unit, so that parallel samples look at different parts of the space."""
    return Cursor(rng.choice([i for i, unit in enumerate(units(problem.numbers)) if unit.left]), 0)


def solutions(problem: Problem) -> list[tuple[Cursor, tuple[Step, ...]]]:
    """Every node that holds a solution, with the solution."""
    found = []
    for index, unit in enumerate(units(problem.numbers)):
        for node, step in enumerate(steps(unit.left) if unit.left else ()):
            last = look(step, problem.target)[1]
            if last:
                found.append((Cursor(index, node), (*unit.path, step, last)))
    return found


def corrupt(problem: Problem, solution: tuple[Step, ...], rng: random.Random) -> tuple[Step, ...]:
    """A claim that breaks the rules in one of the ways in which small models do; now and then it is right after all."""
    kind = rng.choice(("slip", "number", "target", "forced", "forced"))
    if kind == "target":
        return _another_path(problem.numbers, rng)
    if kind == "forced":
        return _forced(problem, solution, rng)
    at = rng.randrange(len(solution))
    step = solution[at]
    if kind == "slip":
        wrong = (step.result or 1) + rng.choice((-10, -2, -1, 1, 2, 10))
        changed = Step(step.a, step.operator, step.b, min(max(wrong, 1), LARGEST), ())
    else:
        a, b = (rng.randint(1, 12), step.b) if rng.random() < 0.5 else (step.a, rng.randint(1, 12))
        a, b = max(a, b), min(a, b)
        changed = Step(a, step.operator, b, combine(a, step.operator, b) or step.result, ())
    return (*solution[:at], changed, *solution[at + 1 :])


def _forced(problem: Problem, solution: tuple[Step, ...], rng: random.Random) -> tuple[Step, ...]:
    """Steps that lead elsewhere, with a last one bent so that it claims the target: the commonest false claim."""
    *path, last = _another_path(problem.numbers, rng) if rng.random() < 0.5 else solution
    a, b = last.a, last.b
    if rng.random() < 0.5:
        operator = rng.choice(OPERATORS)
    else:
        operator = rng.choice("+-")
        b = rng.choice([b, *problem.numbers])
        a = problem.target - b if operator == "+" else problem.target + b
        a, b = (max(a, b), min(a, b)) if 1 <= a <= LARGEST else (last.a, last.b)
    return (*path, Step(a, operator, b, problem.target, ()))


def _another_path(numbers: Numbers, rng: random.Random) -> tuple[Step, ...]:
    """Allowed steps to wherever they lead."""
    while True:
        path: tuple[Step, ...] = ()
        left = numbers
        while len(left) > 1 and (allowed := [s for s in steps(left) if s.result is not None]):
            path = (*path, rng.choice(allowed))
            left = path[-1].left
        if len(left) == 1:
            return path
