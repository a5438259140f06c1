"""Small random checkpoints, made once per run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engines.support import save


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training import tiny

    folder = tmp_path_factory.mktemp("tiny")
    tiny.save(tiny.model(0), folder, pack="tiny", temperature=0.7, card="random")
    return folder


@pytest.fixture(scope="session")
def unicode_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2 with a byte-level tokenizer: random weights produce broken and split characters all the time."""
    return save(tmp_path_factory.mktemp("unicode"), "qwen2")


@pytest.fixture(scope="session")
def pieces_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece-like tokenizer: word starts are marked, unknown characters fall back to bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *"▁abcdehlo,.", "▁h", "el", "▁a", "▁▁"]
    merges = [["▁", "h"], ["e", "l"], ["▁", "a"], ["▁", "▁"]]
    steps = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    special = [
        {"id": i, "content": pieces[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for i in range(3)
    ]  # fmt: skip
    ids = {piece: i for i, piece in enumerate(pieces)}
    model = {"type": "BPE", "vocab": ids, "merges": merges, "byte_fallback": True, "unk_token": "<unk>"}
    decoder = {"type": "Sequence", "decoders": steps}
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": special, "model": model, "decoder": decoder}))
    return path
