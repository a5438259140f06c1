"""The same recipe in several processes: `accelerate launch`, gloo, two processes on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from safetensors.torch import load_file

import training
from tests.training.uneven import MEANS, settings, trained
from training.settings import SHIPPED, Loss

pytestmark = pytest.mark.filterwarnings("ignore:.gradient_checkpointing.:FutureWarning")  # TRL still sets it
CONFIGURATIONS = Path(training.__file__).parent / "accelerate"


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launched")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    launch += ["--config_file", str(CONFIGURATIONS / "cpu.yaml"), "-m", "tests.training.uneven", str(folder)]
    done = subprocess.run(launch, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_both_processes_end_with_the_same_weights_from_different_numbers_of_rows(launched: Path) -> None:
    first, second = told(launched)
    assert first["processes"] == second["processes"] == 2
    assert first["rows"] != second["rows"]
    assert first["weights"] == second["weights"]
    start, end = load_file(SHIPPED / "model.safetensors"), load_file(launched / "run" / "model.safetensors")
    assert any(not torch.equal(start[name], end[name]) for name in start)


@pytest.mark.slow
def test_shards_of_fsdp_are_handed_over_whole(launched: Path) -> None:
    whole = sum(tensor.numel() for tensor in load_file(SHIPPED / "model.safetensors").values())
    for part in told(launched):
        assert part["shards"] < 0.6 * whole
        assert part["gathered"] == part["weights"]


@pytest.mark.slow
def test_one_process_writes_the_files_and_counts_the_rows_of_both(launched: Path) -> None:
    lines = [json.loads(line) for line in (launched / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert sum(line["rows"] for line in lines) == sum(part["rows"] for part in told(launched))
    last = launched / "run" / "checkpoints" / "checkpoint-2"
    assert sorted(path.name for path in last.glob("recipe-*")) == ["recipe-0.json", "recipe-1.json"]


@pytest.mark.slow
@pytest.mark.parametrize("mean", MEANS)
def test_rows_that_are_spread_over_processes_train_as_they_do_in_one(launched: Path, tmp_path: Path, mean: Any) -> None:
    alone = trained(settings(tmp_path, steps=1, loss=Loss(mean=mean)), slice(None))
    spread = load_file(launched / f"{mean}.safetensors")
    assert alone.keys() == spread.keys()
    torch.testing.assert_close(spread.pop("gradient"), alone.pop("gradient"), rtol=1e-4, atol=0)
    for name, tensor in spread.items():
        # the first step of Adam is about the sign of a gradient, which is a matter of rounding where it is nearly 0
        assert (tensor - alone[name]).abs().mean() < 1e-8, name


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_knows_every_key_of_the_configurations(path: Path) -> None:
    found = load_config_from_file(str(path)).to_dict()
    given = yaml.safe_load(path.read_text())
    assert given.items() <= found.items()
    parser = launch_command_parser()
    arguments, *_ = _validate_launch_command(parser.parse_args(["--config_file", str(path), "recipe.py"]))
    assert arguments.num_processes == given["num_processes"]
    assert arguments.use_fsdp == ("fsdp_config" in given)
    assert arguments.use_deepspeed == ("deepspeed_config" in given)
    for name, value in {**given.get("fsdp_config", {}), **given.get("deepspeed_config", {})}.items():
        assert str(getattr(arguments, name)).lower() == str(value).lower()
