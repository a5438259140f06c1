from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

import pytest
import torch

from decoders.core.messages import Message
from training import tiny
from training.__main__ import main
from training.muon import Muon
from training.recipes.sft import Config, batches, train
from training.supervised import Encoder, rate
from training.teachers.rows import Row


def test_text_survives_the_tokenizer_exactly() -> None:
    words = tiny.tokenizer()
    text = "<think> try 8 + 5 = 13 left 13 9 5 target 18 : 13 - 9 x ; yes </think> 8 + 5 = 13, 13 * 1 = 13"
    ids = words.encode(text)
    assert words.unk_token_id not in ids
    assert words.decode(ids) == text
    assert words.encode(words.decode(ids)) == ids
    assert words.encode("Use 5+8,9?") == words.encode("use 5 + 8 , 9 ?")


def test_only_what_an_assistant_wrote_is_trained() -> None:
    row = Row(
        (
            Message("user", "use 9 8 5 5 to make 18"),
            Message("assistant", "<think> try yes"),
            Message("user", "summarise"),
            Message("assistant", "none"),
        ),
        cut=True,
    )
    ids, weights = Encoder(tiny.tokenizer(), {"yes": 4.0}).row(row)
    trained = [(tiny.tokenizer().decode([i]), w) for i, w in zip(ids, weights, strict=True) if w]
    # the end of the first reply is not trained: its budget ended it, not the model
    assert trained == [("<think>", 1.0), ("try", 1.0), ("yes", 4.0), ("none", 1.0), ("<|im_end|>", 1.0)]


def test_the_learning_rate_warms_up_stays_and_ends_at_zero() -> None:
    config = Config(steps=1000, warmup=10, flat=0.5)
    assert rate(config, 0) == pytest.approx(0.1)
    assert rate(config, 300) == 1.0
    assert rate(config, 750) == pytest.approx(0.5)
    assert 0 < rate(config, 999) < 0.01


def test_muon_moves_along_an_orthogonal_matrix() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(8, 16))
    weight.grad = torch.randn(8, 16)
    Muon([weight], lr=1.0, weight_decay=0.0).step()
    singular = torch.linalg.svdvals(weight.detach())
    assert float(singular.min()) > 0.4
    assert float(singular.max()) < 1.4


def test_the_same_seed_gives_the_same_weights_and_the_loss_falls(tmp_path: Path) -> None:
    prints = []
    for name in ("a", "b"):
        folder = train(Config(seed=3, steps=4, turns=3, checks=2, hints=1, output=tmp_path / name, threads=1))
        prints.append(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    assert prints[0] == prints[1]
    torch.use_deterministic_algorithms(False)


def test_batches_hold_every_skill() -> None:
    config = Config(turns=6, checks=2, hints=1)
    step = next(islice(batches(config), 1))
    assert [batch.kind for batch in step] == ["turn", "turn", "turn", "short"]
    assert sum(len(batch.ids) for batch in step) == 9
    assert all(float(batch.weights.sum(1).min()) > 0 for batch in step)


def test_a_misspelt_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", "--set", "stepz=3"]) == 2
    assert "stepz" in capsys.readouterr().err
    assert main(["sft", "--list"]) == 0
    assert "matrix_rate" in capsys.readouterr().out
