"""SIFT-Masks: what is trained along the signs, and that it can be trained again and taken out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from server.engines.embedded.checkpoint import weights
from server.engines.tenants.adapters import Adapters
from server.engines.tenants.ledger import Ledger
from training import tiny
from training.__main__ import main
from training.recipes.sift import PRESETS, Config, train
from training.sift import baselines
from training.sift.comparison import ABOUT, compare
from training.sift.data import codes, files
from training.sift.merging import Merging
from training.sift.tuning import largest


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny.save(tiny.model(0, width=32, layers=1, feed_forward=32), folder, pack="tiny", temperature=1.0, card="random")
    return folder


def config(base: Path, output: Path, **changes: Any) -> Config:
    small = {"tenants": 3, "steps": 4, "batch": 8, "learning_rate": 1e-2, "model": base, "output": output}
    return Config.model_validate({**small, **changes})


def test_a_change_agrees_with_the_signs_in_every_entry(base: Path, tmp_path: Path) -> None:
    merging = Merging.of(config(base, tmp_path / "run"))
    for tenant, tuned in merging.tuned(merging.terms):
        for name, change in tuned.changes.items():
            grows = merging.terms.signs(name)
            assert np.all(change[grows] >= 0), tenant.name
            assert np.all(change[~grows] <= 0), tenant.name
        assert all(change.any() for change in tuned.changes.values())
    assert not any("embed" in name for name in merging.terms.shapes)


def test_fine_tuning_leaves_the_base_as_it_was_and_is_the_same_again(base: Path, tmp_path: Path) -> None:
    merging = Merging.of(config(base, tmp_path / "run"))
    before = {name: weight.copy() for name, weight in merging.tuner.numpy().items()}
    first, second = (merging.again("tenant-001")[0] for _ in range(2))
    assert first.digest == second.digest
    assert merging.again("tenant-002")[0].digest != first.digest
    assert all(torch.equal(p, torch.from_numpy(before[n])) for n, p in merging.tuner.net.named_parameters())


def test_without_a_rank_b_is_the_weight_and_with_one_its_gradient_is_that_of_the_product(
    base: Path, tmp_path: Path
) -> None:
    """One step of B from zero is Adam's first step, ± the learning rate, against the sign of s ∂/∂W Aᵀ."""
    merging = Merging.of(config(base, tmp_path / "run", steps=1))
    terms, tenant = replace(merging.with_rank(2), alpha=2.0), merging.tenants[0]
    full = merging.tuner.tune(tenant, merging.terms, 1, project=False).changes
    low = merging.tuner.tune(tenant, terms, 1, project=False).changes
    for name, change in low.items():
        assert change.shape == (full[name].shape[0], 2)
        moved = np.abs(change[change != 0])
        assert np.allclose(moved, 1e-2, rtol=1e-3)


def test_a_run_is_a_folder_of_tenants_that_can_be_deleted(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(config(base, tmp_path / "run", keep=False, compare=("base", "sift"), share=0.5, divide_by="users"))
    assert "training FLOPs" in capsys.readouterr().out
    ledger = Ledger(folder)
    ledger.check(weights(base))
    assert ledger.names() == ["tenant-000", "tenant-001", "tenant-002"]
    assert main(["ledger", "delete", str(folder), "tenant-001"]) == 1, "it was not kept"
    assert main(["ledger", "delete", str(folder), "tenant-001", "--again"]) == 0
    assert main(["ledger", "audit", str(folder), "--again"]) == 0
    assert "bitwise equal" in capsys.readouterr().out
    assert main(["ledger", "list", str(folder)]) == 0
    assert main(["ledger", "delete", str(folder)]) == 2
    with pytest.raises(ValueError, match="there are tenants"):
        config(base, tmp_path / "run")


def test_churn_works_on_a_copy(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(config(base, tmp_path / "run"))
    before = Ledger(folder).version
    assert main(["ledger", "churn", str(folder), "--operations", "20"]) == 0
    assert "23 entries" in capsys.readouterr().out
    assert Ledger(folder).version == before


def test_every_method_is_measured(base: Path, tmp_path: Path) -> None:
    chosen = config(base, tmp_path / "run", tenants=2, steps=1, compare=tuple(ABOUT), comparison_rank=2)
    merging = Merging.of(chosen)
    _, signed = merging.build()
    found = compare(merging, signed)
    assert list(found.accuracy) == list(ABOUT)
    assert all(len(accuracies) == 2 for accuracies in found.accuracy.values())
    assert found.deletion.others_flops == found.deletion.again_flops
    assert Adapters(tmp_path / "run" / "adapters").names() == ["tenant-000", "tenant-001"]


def test_the_other_methods_are_their_formulas() -> None:
    one, two = ({"w": np.array(values, np.float32)} for values in ([2.0, -1.0, 0.0, 4.0], [1.0, 3.0, 1.0, -1.0]))
    assert baselines.averaged([one, two])["w"].tolist() == [1.5, 1.0, 0.5, 1.5]
    tall = [made["w"].tolist() for made in baselines.tall([one, two], threshold=1.0)]
    assert tall == [[3.0, 0.0, 0.0, 3.0], [0.0, 2.0, 1.0, 0.0]]
    # elected: 2, 3, 1, 4; of the first tenant 2 and 4 agree, scaled by 7 / 6; of the second 2, 3 and 1, by 6 / 6
    emr = [made["w"] for made in baselines.emr([one, two])]
    assert np.allclose(emr[0], [7 / 3, 0, 0, 14 / 3])
    assert np.allclose(emr[1], [2, 3, 1, 0])


def test_of_a_change_the_largest_entries_are_kept() -> None:
    change = {"w": np.array([[0.1, -0.5], [0.3, 0.0]], np.float32)}
    assert np.allclose(largest(change, 0.5)["w"], [[0, -0.5], [0.3, 0]])
    assert largest(change, 1.0)["w"] is change["w"]


def test_made_up_tenants_are_asked_the_same_and_answer_each_in_its_code() -> None:
    one, two = codes(2, seed=1)
    assert [row[0] for row in one.test] == [row[0] for row in two.test]
    assert [row[1] for row in one.test] != [row[1] for row in two.test]
    assert not {row[0] for row in one.train} & {row[0] for row in one.test}
    assert one.digest == codes(1, seed=1)[0].digest != two.digest


def test_tenants_come_from_files(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": str(n)}]} for n in range(5)
    ]
    (tmp_path / "acme.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tenant,) = files(tmp_path, tests=2)
    assert (tenant.name, len(tenant.train), len(tenant.test)) == ("acme", 3, 2)
    with pytest.raises(ValueError, match="too few"):
        files(tmp_path, tests=5)
    (tmp_path / "bad.jsonl").write_text('{"messages": [{"role": "user"}]}')
    with pytest.raises(ValueError, match="line 1 is no conversation"):
        files(tmp_path, tests=2)


def test_presets_are_settings() -> None:
    for preset in PRESETS.values():
        Config.model_validate(preset)
