"""How fast MiniWoB++ episodes go side by side, and what they take: `python -m tests.environments.measure 8 112`.

Memory is the largest proportional set size of this process and all below it, seen twice a second.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from decoders.environments.catalogue import Catalogue
from decoders.environments.options import BrowserOptions
from tests.environments.miniwob_policies import POLICIES

MOST_STEPS = 24


class Measurement:
    """Counts and times over all episodes."""

    def __init__(self, catalogue: Catalogue, episodes: int) -> None:
        self._catalogue = catalogue
        self._todo = list(range(episodes))
        self.won = self.steps = 0
        self.starting = self.acting = 0.0
        self.memory = 0.0

    async def play(self) -> None:
        """One episode after the other while there are any."""
        names = list(POLICIES)
        while self._todo:
            seed = self._todo.pop()
            name = names[seed % len(names)]
            episode = await self._catalogue.open("web", {"task": name, "seed": seed})
            began = time.perf_counter()
            first = seen = await episode.start()
            self.starting += time.perf_counter() - began
            done: list[str] = []
            while not seen.done and len(done) < MOST_STEPS:
                done.append(POLICIES[name](first.goal, seen.text, done))
                began = time.perf_counter()
                seen = await episode.step(done[-1])
                self.acting += time.perf_counter() - began
            self.steps += len(done)
            self.won += seen.reward == 1.0
            await episode.aclose()

    async def watch(self) -> None:
        """Memory until cancelled."""
        while True:
            self.memory = max(self.memory, await asyncio.to_thread(memory))
            await asyncio.sleep(0.5)


def memory() -> float:
    """Of this process and all below it, in MiB."""
    parents = {int(path.parent.name): _parent(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return sum(_share(process) for process in parents if _below(process, parents)) / 1024


def _below(process: int, parents: Mapping[int, int]) -> bool:
    while process and process != os.getpid():
        process = parents.get(process, 0)
    return bool(process)


def _parent(path: Path) -> int:
    try:
        return int(path.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _share(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def main(concurrent: int, episodes: int) -> None:
    """Measure and print."""
    catalogue = Catalogue({"web": BrowserOptions(kind="browser", task="miniwob", max_concurrent=concurrent)})
    run = Measurement(catalogue, episodes)
    watching = asyncio.ensure_future(run.watch())
    began = time.perf_counter()
    await asyncio.gather(*(run.play() for _ in range(concurrent)))
    seconds = time.perf_counter() - began
    watching.cancel()
    await catalogue.aclose()
    print(
        f"{concurrent} side by side: {run.won} of {episodes} won, {run.steps} steps in {seconds:.1f} s: "
        f"{run.steps / seconds:.1f} steps/s, start {1000 * run.starting / episodes:.0f} ms, "
        f"step {1000 * run.acting / run.steps:.0f} ms, {run.memory:.0f} MiB, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
