"""What a run writes beside its weights: metrics, evaluations, the state of its recipe, the model card.

Rule: a run that goes on after a kill leaves the files that an undisturbed one would have left.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.evaluate import Result
from training.recipe import Recipe
from training.settings import OtherRun, Reinforcement

KEPT = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "longthink.json")
"""Files of the start checkpoint that the new one has too."""

HARMLESS = {"output", "steps", "threads", "device", "engine_options", "trackers", "save_every", "save_memory"} | {
    name for name in Reinforcement.model_fields if name.startswith("evaluat")
}
"""Settings that may be others when a run goes on."""


class Lines:
    """A JSONL file of records with a `step`; opening it for a run that resumes drops what lies after that step."""

    def __init__(self, path: Path, resumed: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self.read() if line["step"] <= resumed] if resumed else []
        self._write(kept, "w")

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a record."""
        self._write([record], "a")

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; one that a kill cut short is none."""
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def _write(self, records: list[Any], mode: str) -> None:
        with self._path.open(mode) as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


def results(folder: Path) -> list[Result]:
    """The evaluations of a run."""
    path = folder / "evaluations.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Result(**json.loads(line)) for line in lines]


def as_line(result: Result) -> dict[str, Any]:
    """A result for `Lines`."""
    return asdict(result)


def save_state(recipe: Recipe[Any], checkpoint: Path, rank: int) -> None:
    """The recipe's memory, written at once so that a checkpoint either has it or counts as unfinished."""
    version, internal, gauss = recipe.rng.getstate()
    state = {"rng": [version, list(internal), gauss], "recipe": recipe.state(), "settings": _settings(recipe)}
    part = checkpoint / f"recipe-{rank}.part"
    part.write_text(json.dumps(state))
    os.replace(part, checkpoint / f"recipe-{rank}.json")


def load_state(recipe: Recipe[Any], checkpoint: Path, rank: int) -> None:
    """What `save_state` wrote; `OtherRun` where that was a run of other settings, which cannot go on as this one."""
    state = json.loads((checkpoint / f"recipe-{rank}.json").read_text())
    now = _settings(recipe)
    before = state.get("settings", now)
    if others := sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name)):
        folder = recipe.config.output
        raise OtherRun(f"output: {folder} has a run of another {', '.join(others)}; choose or empty a folder")
    version, internal, gauss = state["rng"]
    recipe.rng.setstate((version, tuple(internal), gauss))
    recipe.restore(state["recipe"])


def _settings(recipe: Recipe[Any]) -> dict[str, Any]:
    """Those that make the run what it is."""
    return {"recipe": recipe.name, **recipe.config.model_dump(mode="json", exclude=HARMLESS)}


def last_checkpoint(folder: Path, ranks: int) -> Path | None:
    """The newest checkpoint that is complete, recipe states of all ranks included."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [c for c in found if all((c / f"recipe-{rank}.json").exists() for rank in range(ranks))]
    return whole[-1] if whole else None


def save(model: Any, state: Mapping[str, Any], start: Path, folder: Path) -> None:
    """Write weights, and beside them the files of the start checkpoint that stay as they are."""
    model.save_pretrained(folder, state_dict=state)
    for name in KEPT:
        if (start / name).exists():
            shutil.copyfile(start / name, folder / name)


def finish(
    recipe: Recipe[Any], model: Any, state: Mapping[str, Any], last: Mapping[str, Any], measured: list[Result]
) -> Path:
    """Write the model: a folder that `longthink serve --model` serves, with its card."""
    config: Reinforcement = recipe.config
    folder = config.output
    save(model, state, config.model, folder)
    (folder / "recipe.json").write_text(json.dumps({"recipe": recipe.name, **config.model_dump(mode="json")}, indent=1))
    (folder / "README.md").write_text(card(recipe, last, measured))
    return folder


def card(recipe: Recipe[Any], last: Mapping[str, Any], measured: list[Result]) -> str:
    """The model card: recipe, data, seed, results."""
    config = recipe.config
    first = {result.name: result for result in measured if result.step == 0}
    final = {result.name: result for result in measured}
    lines = [
        f"| {name} | {_percent(first.get(name))} | {_percent(result)} | {len(result.right)} | {result.tokens:.0f} |"
        for name, result in final.items()
    ]
    table = ["| measurement | before | after | problems | tokens |", "| --- | ---: | ---: | ---: | ---: |", *lines]
    fields = "\n".join(f"- {name}: {value}" for name, value in config.model_dump(mode="json").items())
    return (
        f"# {config.output.name}\n\nTrained by the recipe `{recipe.name}` of longthink ({recipe.paper}), "
        f"seed {config.seed}, from `{config.model.name}`:\n\n    longthink train {recipe.name} --config recipe.json\n\n"
        + ("\n".join(table) + "\n\n" if lines else "")
        + f"## Settings\n\n{fields}\n\n## End of training\n\n{json.dumps(last)}\n"
    )


def _percent(result: Result | None) -> str:
    return "" if result is None else f"{100 * result.accuracy:.1f} %"
