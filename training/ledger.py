"""`longthink train ledger`: what can be done with a folder of merged tenants without a server.

    longthink train ledger list FOLDER
    longthink train ledger audit FOLDER [--again]
    longthink train ledger delete FOLDER TENANT [--again]
    longthink train ledger churn FOLDER [--operations 1000] [--seed 0]

`--again` trains contributions anew from the tenants' data, with the settings of the run, instead of reading those that
were kept. `churn` works on a copy: it deletes and adds tenants at random, then audits. A server that has the
folder open follows each change. Rule: whatever cannot be shown to be right changes nothing and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from decoders.core.errors import LongThinkError
from server.engines.tenants.audit import Audit, audit
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.sums import UNIT, Contribution


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="longthink train ledger", description="Look after a folder of merged tenants.")
    made.add_argument("action", choices=("list", "audit", "delete", "churn"))
    made.add_argument("folder", type=Path, help="the folder `tenants` of a run of `longthink train sift`")
    made.add_argument("tenant", nargs="?", help="of `delete`: who is taken out")
    made.add_argument("--again", action="store_true", help="train contributions anew instead of reading those kept")
    made.add_argument("--operations", type=int, default=1000, help="of `churn`: changes (default: 1000)")
    made.add_argument("--seed", type=int, default=0, help="of the order, in `audit` and `churn` (default: 0)")
    return made


def main(argv: Sequence[str]) -> int:
    """Do it; 2 for wrong usage, 1 where something is not as it should be."""
    options = parser().parse_args(argv)
    if (options.action == "delete") != (options.tenant is not None):
        print("longthink train ledger: delete, and nothing else, wants a tenant", file=sys.stderr)
        return 2
    try:
        ledger = Ledger(options.folder)
        again = _again(options.folder) if options.again else None
        return _ACTIONS[options.action](ledger, options, again)
    except (ValueError, OSError, LongThinkError) as error:
        print(f"longthink train ledger: {error}", file=sys.stderr)
        return 1


Again = Callable[[str], Contribution]


def _list(ledger: Ledger, options: argparse.Namespace, again: Again | None) -> int:
    for tenant, entry in ledger.added().items():
        print(f"{entry.number:>6}  {tenant:<24} contribution {entry.contribution[:16]}  recipe {entry.recipe[:16]}")
    print(f"{ledger.sums.tenants} tenants, {len(ledger.entries)} entries, state {ledger.state}\nhead {ledger.version}")
    return 0


def _audit(ledger: Ledger, options: argparse.Namespace, again: Again | None) -> int:
    began = time.perf_counter()
    return _told(audit(ledger, again, options.seed), time.perf_counter() - began)


def _delete(ledger: Ledger, options: argparse.Namespace, again: Again | None) -> int:
    began = time.perf_counter()
    entry = ledger.delete(options.tenant, again(options.tenant) if again else None)
    print(f"{options.tenant} deleted in {time.perf_counter() - began:.3f} s: {entry.tenants} tenants are left")
    print(f"state {entry.state}\nhead {entry.hash}")
    return 0


def _churn(ledger: Ledger, options: argparse.Namespace, again: Again | None) -> int:
    rng = random.Random(options.seed)
    contributions = {name: again(name) if again else ledger.contribution(name) for name in ledger.names()}
    with tempfile.TemporaryDirectory() as scratch:
        copy = Ledger(shutil.copytree(ledger.folder, Path(scratch) / "tenants"))
        seconds: dict[str, list[float]] = {"add": [], "delete": []}
        for _ in range(options.operations):
            there = copy.names()
            gone = sorted(contributions.keys() - set(there))
            action = "add" if not there or (gone and rng.random() < 0.5) else "delete"
            began = time.perf_counter()
            if action == "add":
                name = rng.choice(gone)
                values = contributions[name].values.items()
                copy.add(name, {tensor: (value * UNIT).astype("f4") for tensor, value in values})
            else:
                copy.delete(rng.choice(there))
            seconds[action].append(time.perf_counter() - began)
        for action, taken in seconds.items():
            print(f"{action}: {len(taken)} times, {1000 * sum(taken) / max(len(taken), 1):.1f} ms each")
        began = time.perf_counter()
        return _told(audit(copy, seed=options.seed), time.perf_counter() - began)


def _told(found: Audit, seconds: float) -> int:
    print(f"{found.tenants} tenants, {found.entries} entries, rebuilt in {seconds:.2f} s")
    print(f"state {found.state}\nhead {found.head}")
    for problem in found.problems:
        print(f"WRONG: {problem}")
    print("the merged model is not what its tenants make" if found.problems else "bitwise equal")
    return 1 if found.problems else 0


_ACTIONS = {"list": _list, "audit": _audit, "delete": _delete, "churn": _churn}


def _again(folder: Path) -> Again:
    """Trains with the settings of the run."""
    from training.recipes.sift import Config
    from training.sift.merging import Merging

    told = json.loads((folder.parent / "recipe.json").read_text())
    merging = Merging.of(Config.model_validate({**told, "output": folder / "none"}))
    return lambda tenant: merging.again(tenant)[0]
