"""`longthink train privacy`: plan, regimes, map, validate; sample, scorer and compare for a judge trained in privacy.

Rule: 0 is an answer, 2 a mistake in what was asked, and 3 a refusal to answer; the text says what would change it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.report import table
from training.privacy import judging, picture, report, validate
from training.privacy.families import FAMILIES, Array, Mean
from training.privacy.options import add_budget, budget, count, natural, positive, share
from training.privacy.plan import Answer, plan
from training.privacy.risk import Setting, private_needed
from training.privacy.shift import Shift, estimate

REFUSED = 3


def parser() -> argparse.ArgumentParser:
    """The options of every subcommand."""
    made = argparse.ArgumentParser(prog="longthink train privacy", description=__doc__, allow_abbrev=False)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for name, about, add, work in (
        ("plan", "public, private or both: a recommendation, or a refusal", _plan_options, _plan),
        (
            "regimes",
            "private data needed for an error, over public data and shift, as a table",
            _regimes_options,
            _regimes,
        ),
        ("map", "a picture of the regimes", _map_options, _map),
        ("validate", "every formula beside a simulation", _validate_options, _validate),
        *judging.COMMANDS,
    ):
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        add(command)
        command.set_defaults(work=work)
    return made


def main(argv: Sequence[str]) -> int:
    """Run a subcommand and return its exit status."""
    options = parser().parse_args(argv)
    work: Callable[[argparse.Namespace], int] = options.work
    try:
        return work(options)
    except (ValueError, OSError) as error:
        print(f"longthink train privacy: {error}", file=sys.stderr)
        return 2


def _problem_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--problem", choices=sorted(FAMILIES), default="mean", help="default: mean")
    to.add_argument("--dimension", type=natural, metavar="D", help="coordinates of the parameter")
    add_budget(to)
    to.add_argument("--reach", type=positive, default=1.0, help="how far the parameter may be from 0 (default: 1)")
    to.add_argument("--worth", type=share, default=0.1, help="what mixing must save of the risk (default: 0.1)")


def _plan_options(to: argparse.ArgumentParser) -> None:
    _problem_options(to)
    to.add_argument("--public", type=count, default=0, metavar="M", help="public data (default: 0)")
    to.add_argument("--private", type=count, default=0, metavar="N", help="private data (default: 0)")
    to.add_argument("--shift", type=float, nargs=2, metavar=("LOW", "HIGH"), help="an interval for the shift")
    files = "instead of the numbers and --shift: a mean's data as .npy or .csv, a datum a row"
    to.add_argument("--estimate", type=Path, nargs=2, metavar=("PUBLIC", "PRIVATE"), help=files)
    to.add_argument("--bound", type=positive, default=1.0, help="with --estimate: the shift at most (default: 1)")
    to.add_argument("--share", type=share, default=0.5, help="of the budget, for --estimate (default: 0.5)")
    to.add_argument("--error", type=positive, help="a root mean squared error that is to be reached")
    to.add_argument("--json", action="store_true", help="JSON instead of Markdown")


def _plan(options: argparse.Namespace) -> int:
    setting, shift = _estimated(options) if options.estimate else _declared(options)
    found = plan(setting, shift, options.error)
    print(json.dumps(found.wire(), indent=1) if options.json else report.markdown(found))
    return 0 if isinstance(found.found, Answer) else REFUSED


def _declared(options: argparse.Namespace) -> tuple[Setting, Shift]:
    if options.shift is None:
        raise ValueError("say how large the shift may be, --shift LOW HIGH, or have it estimated, --estimate")
    if not options.public + options.private:
        raise ValueError("say how many data there are: --public and --private")
    return _setting(options, options.public, options.private), Shift(*options.shift)


def _estimated(options: argparse.Namespace) -> tuple[Setting, Shift]:
    """The setting of what is left of the budget, and the shift that the rest was spent on."""
    if options.problem != Mean.name:
        raise ValueError("--estimate is for means; for a regression declare the shift")
    public, private = (_read(path) for path in options.estimate)
    if public.shape[1] != private.shape[1]:
        raise ValueError(f"public data have {public.shape[1]} columns, private ones {private.shape[1]}")
    whole, rng = budget(options), np.random.default_rng()
    shift = estimate(public, private, options.bound, whole.part(options.share), rng)
    options.dimension = public.shape[1]
    rest = replace(_setting(options, len(public), len(private)), budget=whole.part(1 - options.share))
    return rest, shift


def _read(path: Path) -> Array:
    data = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    if data.ndim != 2 or len(data) < 2 or not np.isfinite(data).all():
        raise ValueError(f"{path}: two rows of finite numbers at least are needed")
    return np.asarray(data, np.float64)


def _setting(options: argparse.Namespace, public: int, private: float) -> Setting:
    if options.dimension is None:
        raise ValueError("say how many coordinates the parameter has: --dimension")
    family = FAMILIES[options.problem](options.dimension)
    return Setting(family, public, private, budget(options), options.reach, options.worth)


def _regimes_options(to: argparse.ArgumentParser) -> None:
    _problem_options(to)
    to.add_argument("--error", type=positive, default=0.2, help="root mean squared error (default: 0.2)")
    to.add_argument("--public", type=count, nargs="+", default=[0, 64, 400, 1600, 2400, 6400, 10**6], metavar="M")
    to.add_argument("--shift", type=float, nargs="+", default=[0, 0.1, 0.19, 0.25, 0.5, 2.0], metavar="SHIFT")


def _regimes(options: argparse.Namespace) -> int:
    """Private data needed for an error, a column for each number of public data, a row for each shift."""
    rows = []
    for shift in options.shift:
        needed = [private_needed(_setting(options, m, 0), options.error**2, shift) for m in options.public]
        rows.append([f"{shift:g}", *(report.count(n) for n in needed)])
    print(table(["shift", *(f"{m:,} public" for m in options.public)], rows))
    return 0


def _map_options(to: argparse.ArgumentParser) -> None:
    _problem_options(to)
    to.add_argument("--public", type=count, required=True, metavar="M", help="public data")
    to.add_argument("--private", type=positive, nargs=2, default=(100.0, 1e6), metavar=("LOW", "HIGH"))
    to.add_argument("--shift", type=positive, nargs=2, default=(0.01, 3.0), metavar=("LOW", "HIGH"))
    to.add_argument("--output", type=Path, required=True, help="PNG or SVG")


def _map(options: argparse.Namespace) -> int:
    setting = _setting(options, options.public, 0)
    try:
        figure = picture.draw(setting, tuple(options.private), tuple(options.shift))
    except ImportError:
        raise ValueError("a picture needs matplotlib: pip install '.[bench]'") from None
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=picture.DPI)
    print(options.output)
    return 0


def _validate_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--repeats", type=natural, default=1000, help="simulations of each formula (default: 1000)")
    to.add_argument("--seed", type=int, default=1, help="default: 1")


def _validate(options: argparse.Namespace) -> int:
    """The table of all comparisons; 1 where one is off by more than 5 %."""
    found = list(validate.lines(options.repeats, options.seed))
    rows = [
        [line.name, f"{line.formula:.4g}", f"{line.measured:.4g} ± {1.96 * line.error:.2g}", line.verdict]
        for line in found
    ]
    print(table(["formula", "says", "measured", "ratio"], rows))
    return 0 if all(line.right for line in found) else 1
