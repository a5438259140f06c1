from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.connection import Connection
from benchmarks.exchange import Sample
from benchmarks.load import bodies, figures, parser
from benchmarks.processes import cpu_seconds


def load(endpoint: Any, *more: str) -> int:
    small = ["--requests", "40", "--concurrency", "4", "--rounds", "2"]
    return main(["load", "--url", endpoint.url, "--model", "m", *small, *more])


def test_load_reports_rates_and_latencies(endpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "load.json"
    assert load(endpoint, "--output", str(out), "--pid", str(os.getpid()), "--decoder", "rc", "--set", "turns=2") == 0
    found = json.loads(out.read_text())
    first, second = found["targets"][0]["rounds"]
    assert first["requests_per_second"] > 1
    assert first["latency_p50_ms"] <= first["latency_p99_ms"]
    assert first["tokens_per_second"] == pytest.approx(200 * first["requests_per_second"])
    assert first["first_token_p50_ms"] is None
    assert second["errors"] == 0
    # 4 connections of 2 rounds are opened by a request that is not counted
    assert len(endpoint.requests) == 48
    assert endpoint.connections == 8
    assert endpoint.requests[0]["decoder"] == {"name": "rc", "turns": 2}
    shown = capsys.readouterr().out
    assert "| requests/s |" in shown
    assert "| server CPU, ms/request |" in shown
    assert "time to first token" not in shown


@pytest.mark.parametrize("chunked", [True, False])
def test_streams_give_time_to_first_token(endpoint: Any, tmp_path: Path, chunked: bool) -> None:
    endpoint.chunked = chunked
    out = tmp_path / "load.json"
    assert load(endpoint, "--stream", "--output", str(out)) == 0
    round_ = json.loads(out.read_text())["targets"][0]["rounds"][0]
    # the role's chunk is no token; four chunks 2 ms apart are
    assert 2 <= round_["first_token_p50_ms"] < round_["latency_p50_ms"]
    assert 1 < round_["inter_token_p50_ms"] < 100
    assert round_["tokens_per_second"] == pytest.approx(4 * round_["requests_per_second"])
    assert endpoint.requests[0]["stream_options"] == {"include_usage": True}


def test_two_servers_are_measured_in_turn(endpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "load.json"
    other = ["--against", endpoint.url, "--against-model", "b", "--against-body", '{"decoder": null}']
    assert load(endpoint, *other, "--decoder", "rc", "--output", str(out)) == 0
    # every second round in the opposite order; a round is 20 requests and 4 to warm up
    order = "".join("a" if body["model"] == "m" else "b" for body in endpoint.requests)
    assert order == "a" * 24 + "b" * 48 + "a" * 24
    assert all(("decoder" in body) == (body["model"] == "m") for body in endpoint.requests)
    ratio = json.loads(out.read_text())["median_ratios"]["requests_per_second"]
    assert 0.1 < ratio < 10
    assert "ratio, median (range)" in capsys.readouterr().out


def test_errors_are_counted_and_told(endpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failures = {10: (500, {}, "broken"), 11: (0, {}, ""), 12: (200, {}, "no JSON")}
    endpoint.fail = lambda number, body: failures.get(number)
    assert load(endpoint, "--rounds", "1") == 1
    shown = capsys.readouterr().out
    assert "| errors | 3 (3 to 3) |" in shown
    assert "server: 1 x HTTP 500: broken" in shown
    assert "server: 1 x BadResponse" in shown
    assert "server: 1 x JSONDecodeError" in shown
    assert len(endpoint.requests) == 44


def test_a_stream_that_breaks_off_is_an_error(endpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.fail = lambda number, body: (200, {}, 'data: {"error": {"message": "no"}}\n\n') if number > 30 else None
    assert load(endpoint, "--stream", "--rounds", "1") == 1
    assert '14 x error in the stream: {"message":"no"}' in capsys.readouterr().out


def test_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    assert main(["load", "--url", url, "--requests", "2", "--rounds", "1"]) == 1
    assert "ConnectionRefusedError" in capsys.readouterr().out


def test_a_silent_server_times_out(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        assert main(["load", "--url", url, "--requests", "1", "--rounds", "1", "--timeout", "0.1"]) == 1
    assert "no reply within 0.1 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", [["--url", "ftp://x"], ["--body", "[1]"], ["--body", "{"], ["--rounds", "0"], ["--pid", "999999999"]]
)
def test_wrong_usage_is_told(endpoint: Any, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert load(endpoint, *wrong) == 2
    assert "longthink bench load: " in capsys.readouterr().err


def test_figures_of_known_samples() -> None:
    samples = [Sample(seconds=0.1 * i, arrivals=[0.05, 0.06, 0.08], tokens=3) for i in range(1, 11)]
    samples.append(Sample(seconds=9.0, error="HTTP 500"))
    found = figures(samples, wall=2.0, client=0.5, server=0.11)
    expected = {"requests_per_second": 5, "tokens_per_second": 15, "latency_p50_ms": 500, "latency_p99_ms": 1000}
    expected |= {"first_token_p99_ms": 50, "inter_token_p50_ms": 10, "inter_token_p99_ms": 20, "errors": 1}
    expected |= {"server_cpu_ms": 10, "client_busy": 0.25}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_body_merges_and_takes_away() -> None:
    text = '{"temperature": 0.5, "model": null}'
    one, two = bodies(parser().parse_args(["--body", text, "--against-model", "b"]))
    assert json.loads(one).keys() == {"messages", "temperature"}
    assert json.loads(two)["model"] == "b"


def test_a_connection_is_kept_and_reopened(endpoint: Any) -> None:
    endpoint.fail = lambda number, body: (200, {"connection": "close"}, "{}") if number == 2 else (200, {}, "{}")

    async def three() -> list[list[int | bytes]]:
        connection = Connection(endpoint.url)
        replies = []
        for _ in range(3):
            async with aclosing(connection.post("/chat/completions", b"{}")) as pieces:
                replies.append([piece async for piece in pieces])
        await connection.aclose()
        return replies

    assert asyncio.run(three()) == [[200, b"{}"]] * 3
    assert endpoint.connections == 2


def test_cpu_time_includes_children() -> None:
    before = cpu_seconds(os.getpid())
    work = "import time\nwhile time.process_time() < 0.15: pass\nprint(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert cpu_seconds(process.pid) >= 0.1
    assert cpu_seconds(os.getpid()) - before >= 0.1
    process.communicate(b"\n")
    assert cpu_seconds(None) == 0
