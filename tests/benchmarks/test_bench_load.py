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
from benchmarks.load import bodies, parser
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
    assert second["error_rate"] == 0
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
    # the role's chunk is no token, and reasoning none of the answer
    assert round_["first_event_p50_ms"] < round_["first_token_p50_ms"] < round_["first_answer_token_p50_ms"]
    assert round_["first_answer_token_p50_ms"] < round_["latency_p50_ms"]
    assert 0 < round_["inter_token_mean_ms"] <= round_["inter_token_p99_ms"]
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
    assert "| error rate | 0.075 |" in shown
    assert "server: 1 x HTTP 500: broken" in shown
    assert "server: 1 x BadResponse" in shown
    assert "server: 1 x JSONDecodeError" in shown
    assert len(endpoint.requests) == 44


def test_a_stream_that_breaks_off_is_an_error(endpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.fail = lambda number, body: (200, {}, 'data: {"error": {"message": "no"}}\n\n') if number > 30 else None
    assert load(endpoint, "--stream", "--rounds", "1") == 1
    assert '14 x error in the stream: {"error":{"message":"no"}}' in capsys.readouterr().out


def test_a_reply_without_choices_is_an_error(endpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.fail = lambda number, body: (200, {}, '{"error": "all is well"}')
    assert load(endpoint, "--rounds", "1") == 1
    assert "40 x a reply without choices" in capsys.readouterr().out


def test_an_open_loop_keeps_to_its_clock(endpoint: Any, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    assert load(endpoint, "--rate", "400", "--against", endpoint.url, "--output", str(out)) == 0
    one, two = (json.loads(out.read_text())["targets"][i]["rounds"] for i in (0, 1))
    assert all(round_["sent_late_p99_ms"] is not None and round_["error_rate"] == 0 for round_ in [*one, *two])
    # 20 requests a round and 4 connections that are warmed; none is opened while one is free
    assert len(endpoint.requests) == 2 * 2 * (20 + 4)
    assert endpoint.connections == 2 * 2 * 4


def test_in_an_open_loop_latency_includes_the_queue(endpoint: Any, tmp_path: Path) -> None:
    endpoint.delay, out = 0.02, tmp_path / "load.json"
    one = ["--requests", "10", "--rounds", "1", "--concurrency", "1", "--output", str(out)]
    assert load(endpoint, *one) == 0
    assert json.loads(out.read_text())["targets"][0]["rounds"][0]["sent_late_p99_ms"] is None
    assert load(endpoint, *one, "--rate", "1000") == 0
    found = json.loads(out.read_text())["targets"][0]["rounds"][0]
    # all ten are due within some 10 ms, and the last waits for nine others that take 20 ms each
    assert found["latency_p99_ms"] > found["sent_late_p99_ms"] > 100


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
    "wrong",
    [
        *(["--url", "ftp://x"], ["--body", "[1]"], ["--body", "{"], ["--rounds", "0"], ["--pid", "999999999"]),
        *(["--rate", "0"], ["--rate", "nan"], ["--concurrency", "0"]),
    ],
)
def test_wrong_usage_is_told(endpoint: Any, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert load(endpoint, *wrong) == 2
    assert "longthink bench load: " in capsys.readouterr().err


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


def test_a_connection_that_the_peer_has_closed_meanwhile_is_opened_anew() -> None:
    async def twice() -> list[list[int | bytes]]:
        ended = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            writer.close()
            await writer.wait_closed()
            ended.set()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            connection, replies = Connection(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), []
            for _ in range(2):
                async with aclosing(connection.post("/", b"{}")) as pieces:
                    replies.append([piece async for piece in pieces])
                await ended.wait()
                ended.clear()
                while connection.usable:  # noqa: ASYNC110, no event tells that the end has been read
                    await asyncio.sleep(0)
            await connection.aclose()
            return replies

    assert asyncio.run(asyncio.wait_for(twice(), 10)) == [[200, b"{}"]] * 2


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
