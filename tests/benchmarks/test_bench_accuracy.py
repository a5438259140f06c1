from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy import parser, settings
from benchmarks.rows import DamagedFile, read
from benchmarks.statistics import wilson

SMALL = ["--level", "easy", "--problems", "20", "--concurrency", "8"]


def bench(endpoint: Any, output: Path, *more: str) -> int:
    return main(["accuracy", "--url", endpoint.url, "--model", "m", "--output", str(output), *SMALL, *more])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "new" / "rc.jsonl"


def test_a_sweep_measures_every_setting(endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = output.with_name("table.md")
    assert bench(endpoint, output, "--decoder", "rc", "--turns", "1,8", "--table", str(table), "--api-key", "k") == 0
    rows = read(output)
    assert len(rows) == 40
    assert {row.name: row.axis_value for row in rows} == {"rc turns=1": 1, "rc turns=8": 8}
    assert all(row.correct for row in rows if row.answered and row.answer != "1 + 1 = 3")
    eight = [row for row in rows if row.axis_value == 8]
    right = sum(row.correct for row in eight)
    interval = wilson(right, 20)
    written = table.read_text()
    assert f"| rc turns=8 | 20 | {right * 5:.1f} % | {100 * interval.low:.1f} to {100 * interval.high:.1f} |" in written
    mean = sum(row.completion_tokens for row in eight) / 20
    assert f"| {mean:.0f} |" in written
    assert "--api-key KEY" in written
    assert written.strip() == capsys.readouterr().out.strip()
    assert endpoint.headers[0]["authorization"] == "Bearer k"


def test_requests_are_paired_by_the_seed(endpoint: Any, output: Path) -> None:
    bench(endpoint, output, "--decoder", "rc", "--turns", "1,2", "--temperature", "0.5", "--set", "reasoning_tokens=99")
    body = endpoint.requests[0]
    assert body["decoder"] == {"name": "rc", "reasoning_tokens": 99, "turns": body["decoder"]["turns"]}
    assert body["temperature"] == 0.5
    assert "max_completion_tokens" not in body
    seeds = {(b["messages"][0]["content"], b["seed"]) for b in endpoint.requests}
    assert len(seeds) == 20
    assert len({seed for _, seed in seeds}) == 20
    bench(endpoint, output, "--decoder", "rc", "--turns", "1", "--seed", "1")
    assert endpoint.requests[-1]["seed"] not in {seed for _, seed in seeds}


def test_a_budget_goes_into_the_request(endpoint: Any, output: Path) -> None:
    bench(endpoint, output, "--budget", "64,128", "--problems", "2")
    assert {body["max_completion_tokens"] for body in endpoint.requests} == {64, 128}
    assert all(body["decoder"] == {"name": "direct"} for body in endpoint.requests)
    assert {row.name for row in read(output)} == {"direct max_completion_tokens=64", "direct max_completion_tokens=128"}


def test_nothing_finished_is_asked_again(endpoint: Any, output: Path) -> None:
    bench(endpoint, output, "--problems", "5")
    bench(endpoint, output, "--problems", "12")
    assert len(endpoint.requests) == 12
    bench(endpoint, output, "--problems", "5", "--temperature", "0.1")
    assert len(endpoint.requests) == 17


def test_a_torn_last_line_is_asked_again(endpoint: Any, output: Path) -> None:
    bench(endpoint, output)
    data = output.read_bytes()
    output.write_bytes(data[:-40])
    assert len(read(output)) == 19
    assert bench(endpoint, output) == 0
    assert len(endpoint.requests) == 21
    assert len(read(output)) == len(output.read_bytes().splitlines()) == 20


def test_a_last_line_without_its_end_is_kept(endpoint: Any, output: Path) -> None:
    bench(endpoint, output, "--problems", "3")
    output.write_bytes(output.read_bytes()[:-1])
    bench(endpoint, output, "--problems", "4")
    assert len(endpoint.requests) == 4
    assert len(read(output)) == 4


def test_a_damaged_file_is_refused(endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output.parent.mkdir()
    output.write_text('{"something": "else"}\n{}\n')
    assert bench(endpoint, output) == 2
    assert "line 1 is not a row" in capsys.readouterr().err
    with pytest.raises(DamagedFile):
        read(output)


def test_a_killed_run_goes_on_where_it_was(endpoint: Any, output: Path) -> None:
    def slow(number: int, body: dict[str, Any]) -> None:
        time.sleep(0.2 if number > 8 else 0)

    endpoint.fail = slow
    arguments = ["accuracy", "--url", endpoint.url, "--model", "m", "--output", str(output), *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments, "--concurrency", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not output.exists() or output.read_bytes().count(b"\n") < 8):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(read(output))
    assert 8 <= done < 20
    endpoint.fail = lambda number, body: None
    assert bench(endpoint, output, "--api-key", "second") == 0
    assert [h.get("authorization") for h in endpoint.headers].count("Bearer second") == 20 - done
    assert len(read(output)) == 20


def test_busy_servers_are_asked_again_when_they_say(endpoint: Any, output: Path) -> None:
    refused: dict[int, float] = {}

    def busy(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], str] | None:
        if body["seed"] not in refused:
            refused[body["seed"]] = time.monotonic()
            return (429, {"retry-after": "0.3"}, "{}")
        assert time.monotonic() - refused[body["seed"]] >= 0.29
        return None

    endpoint.fail = busy
    assert bench(endpoint, output, "--problems", "4") == 0
    assert [row.retries for row in read(output)] == [1] * 4


def test_a_lost_connection_is_tried_again(endpoint: Any, output: Path) -> None:
    endpoint.fail = lambda number, body: (0, {}, "") if number == 1 else None
    assert bench(endpoint, output, "--problems", "2") == 0
    assert sorted(row.retries for row in read(output)) == [0, 1]


def test_server_errors_are_listed_and_not_counted_as_wrong(
    endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = json.dumps({"error": {"message": "the engine fell over"}})
    endpoint.fail = lambda number, body: (500, {}, broken) if number % 4 == 0 else None
    assert bench(endpoint, output) == 1
    shown = capsys.readouterr()
    assert "5 x HTTP 500: the engine fell over" in shown.err
    assert "| direct | 15 |" in shown.out
    assert "| 5 |" in shown.out
    endpoint.fail = lambda number, body: None
    assert bench(endpoint, output) == 0
    assert len(endpoint.requests) == 25
    assert "| direct | 20 |" in capsys.readouterr().out


def test_a_reply_without_token_counts_is_an_error(
    endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.fail = lambda number, body: (200, {}, '{"choices": [{"message": {"content": "hi"}}]}')
    assert bench(endpoint, output, "--problems", "2") == 1
    assert "2 x the reply is not a chat completion: usage" in capsys.readouterr().err


def test_a_refusal_ends_the_run(endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.fail = lambda number, body: (404, {}, '{"error": {"message": "no model m"}}')
    assert bench(endpoint, output, "--concurrency", "1") == 2
    assert "stopped: HTTP 404: no model m" in capsys.readouterr().err
    assert len(endpoint.requests) == 1


def test_the_run_gives_up_where_nothing_answers(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    small = [*SMALL, "--retries", "0", "--give-up", "3"]
    assert main(["accuracy", "--url", url, "--output", str(output), *small]) == 2
    assert "3 errors in a row" in capsys.readouterr().err


def test_an_option_given_twice_is_refused(endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(endpoint, output, "--turns", "1,2", "--set", "turns=3") == 2
    assert "given twice: turns" in capsys.readouterr().err
    assert bench(endpoint, output, "--sweep", "turns") == 2


def test_an_unknown_level_is_refused(endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(endpoint, output, "--level", "brutal") == 2
    assert "there are easy, medium, hard" in capsys.readouterr().err


def test_the_grid_is_the_product_of_all_sweeps() -> None:
    given = ["--output", "x", "--decoder", "rc", "--turns", "1,2", "--sweep", "reasoning_tokens=64,128", "--n", "2,2"]
    grid = settings(parser().parse_args(given))
    assert [setting.options for setting in grid] == [
        {"reasoning_tokens": tokens, "turns": turns, "n": 2} for tokens in (64, 128) for turns in (1, 2)
    ]
    assert {setting.axis for setting in grid} == {"reasoning_tokens"}


def test_the_key_is_the_request_not_the_sweep() -> None:
    swept = settings(parser().parse_args(["--output", "x", "--turns", "1,2"]))
    fixed = settings(parser().parse_args(["--output", "x", "--set", "turns=2"]))
    assert swept[1].key == fixed[0].key != swept[0].key


@pytest.mark.parametrize("command", ["accuracy", "load", "plot", "compare"])
def test_every_benchmark_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"longthink bench {command}" in capsys.readouterr().out


def test_the_command_line_names_its_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["nothing"]) == 2
    assert "unknown benchmark 'nothing'" in capsys.readouterr().err


def test_samples_of_a_problem_make_pass_and_majority(
    endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(endpoint, output, "--decoder", "rc", "--turns", "1,4", "--samples", "4", "--seed", "3") == 0
    rows = read(output)
    assert len(rows) == 2 * 20 * 4
    assert {row.seed for row in rows} == {3, 4, 5, 6}
    header, _, one, four = capsys.readouterr().out.splitlines()[:4]
    assert [cell.strip() for cell in header.split("|")[4:-2]] == [
        *("pass@1", "pass@2", "pass@4"),
        *("majority@2", "majority@4"),
    ]
    assert one.startswith("| rc turns=1 | 20 | 4 |")
    assert four.startswith("| rc turns=4 | 20 | 4 |")
    ours = [row for row in rows if row.axis_value == 1]
    assert f"| {100 * sum(row.correct for row in ours) / 80:.1f} % ±" in one
    solved = {row.problem for row in ours if row.correct}
    assert f"| {100 * len(solved) / 20:.1f} % ±" in one


def test_a_problem_counts_once_all_its_samples_are_finished(
    endpoint: Any, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.fail = lambda number, body: (400, {}, "no") if number == 1 else None
    assert bench(endpoint, output, "--samples", "2") == 1
    assert "| direct | 19 | 2 |" in capsys.readouterr().out
