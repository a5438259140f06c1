from __future__ import annotations

import pytest

from benchmarks.__main__ import main


def test_every_side_serves_alternating_tenants(capsys: pytest.CaptureFixture[str]) -> None:
    small = "--tenants 2 --concurrency 2 --requests 4 --tokens 4 --rounds 1 --rank 2"
    assert main(["tenants", *small.split()]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| one model for all",
        "| masks, turns",
        "| masks, turns, models for half of the tenants",
        "| masks, order of arrival",
        "| LoRA of rank 2, turns",
    ]
