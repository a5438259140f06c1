"""Is a merged model what it would be if those who were deleted had never been there? Rule: rebuilt, not believed.

The contributions of the tenants that are left are added anew, in a random order; the digest must be that of the sums
which are served, and that which the log says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from server.engines.tenants import chain
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.sums import Contribution, Sums, digest


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; `problems` is empty where all is as it should be."""

    tenants: int
    entries: int
    state: str
    head: str
    """Hash of the last entry of the log."""
    problems: tuple[str, ...]


def audit(ledger: Ledger, again: Callable[[str], Contribution] | None = None, seed: int | None = None) -> Audit:
    """Rebuild and compare; `again` makes contributions that were not kept, or all of them, from tenants' data."""
    ledger.refresh()
    chain.read(ledger.folder / "log.jsonl")
    there, problems = ledger.added(), []
    order = sorted(there)
    random.Random(seed).shuffle(order)
    rebuilt = Sums.empty(ledger.terms.shapes)
    for tenant in order:
        if digest(ledger.mask(tenant)) != there[tenant].mask:
            problems.append(f"the mask of {tenant} is not the one that was made")
            continue
        contribution = again(tenant) if again else ledger.contribution(tenant)
        if contribution.digest != there[tenant].contribution:
            problems.append(f"the contribution of {tenant} is not the one that was added")
        rebuilt = rebuilt.plus(contribution)
    if rebuilt.digest != ledger.sums.digest:
        problems.append("the sums are not those of the tenants that are there")
    if ledger.entries and ledger.sums.digest != ledger.state:
        problems.append("the sums are not those that the log tells of")
    known = {f"sums-{len(ledger.entries) - 1}.safetensors", "ledger.json", "log.jsonl", "lock"}
    files = [path for path in ledger.folder.rglob("*") if path.is_file()]
    left = [p for p in files if p.name not in known and not (p.parent != ledger.folder and p.stem in there)]
    problems += [f"{path.relative_to(ledger.folder)} belongs to nobody who is there" for path in left]
    return Audit(len(there), len(ledger.entries), rebuilt.digest, ledger.version, tuple(problems))
