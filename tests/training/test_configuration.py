"""Settings come from a preset, a file and the command line, and what is wrong is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.__main__ import main, names
from training.configuration import literal, merged, nested, settings
from training.recipes import grpo


def test_a_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text('steps = 7\nlevels = ["easy"]\n[loss]\nkl = 0.5\nentropy = 0.1\n')
    made = settings(grpo, "paper", file, ["loss.kl=0.25", 'levels=["hard"]', "output=runs/x y"])
    assert isinstance(made, grpo.Config)
    assert (made.batch, made.steps, made.levels) == (64, 7, ("hard",))
    assert (made.loss.kl, made.loss.entropy, made.loss.clip_high) == (0.25, 0.1, 0.28)
    assert made.output == Path("runs/x y")


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_what_a_run_wrote_starts_it_again(tmp_path: Path, suffix: str) -> None:
    first = settings(grpo, None, None, ["loss.dual_clip=3", "loss.kl=0.001"])
    file = tmp_path / f"recipe.{suffix}"
    file.write_text(json.dumps({"recipe": "grpo", **first.model_dump(mode="json")}))
    assert settings(grpo, None, file, []) == first


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "steps=0"], "--set steps"),
        (["--set", "loss.klo=1"], "--set loss.klo"),
        (["--set", "steps"], "NAME=VALUE"),
        (["--preset", "huge"], "there are paper, tiny"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--config", "recipe.ini"], "settings are read from"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grpo", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_every_recipe_is_listed_with_its_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    for name in names("training.recipes"):
        assert re.search(rf"^{name}( \[.+\])?: ", shown, re.MULTILINE)


@pytest.mark.parametrize("recipe", names("training.recipes"))
def test_the_settings_of_a_recipe_are_listed_its_own_first(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([recipe, "--list"]) == 0
    shown = capsys.readouterr().out
    fields = import_module(f"training.recipes.{recipe}").Config.model_fields
    assert set(re.findall(r"^  (\w+) = ", shown, re.MULTILINE)) == set(fields)
    assert "task" not in fields or shown.index("  task = ") < shown.index("  seed = ")


PLAIN = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(PLAIN, lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(), x, max_size=2), max_leaves=5)
TABLE = st.dictionaries(st.text(min_size=1), JSON, max_size=4)


@given(TABLE, TABLE)
def test_merging_keeps_what_is_not_replaced(under: dict[str, object], over: dict[str, object]) -> None:
    made = merged(under, over)
    assert made.keys() == under.keys() | over.keys()
    assert merged(made, over) == made
    assert all(made[name] == value for name, value in under.items() if name not in over)


def test_values_on_the_command_line() -> None:
    assert [literal(text) for text in ("3", "0.5", "none", "True", "[1]", "a=b")] == [3, 0.5, None, True, [1], "a=b"]
    assert nested(["a", "b"], 1) == {"a": {"b": 1}}


def test_a_shipped_checkpoint_has_a_name(tmp_path: Path) -> None:
    made = settings(grpo, None, None, ["model=longthink-tiny"])
    assert isinstance(made, grpo.Config)
    assert (made.model / "config.json").exists()
    assert made.model_dump(mode="json")["model"] == "longthink-tiny"
    other = settings(grpo, None, None, [f"model={tmp_path}"])
    assert other.model_dump(mode="json")["model"] == str(tmp_path)


WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, *_):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)

sys.meta_path.insert(0, NoTorch())
from training.__main__ import main
sys.exit(main(["grpo", "--list"]))
"""


def test_a_package_that_is_missing_is_named_with_what_installs_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "longthink train needs torch: pip install torch==2.13.0, then pip install -e '.[train]'\n"
