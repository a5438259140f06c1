"""`longthink chat`: what is typed, what is shown, and a real session in a real terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from typing import Any

import pytest
from rich.console import Console

from clients import LongThink, Progress, Run, Said, Thought, Trace
from clients.__main__ import main
from clients.terminal import choice
from clients.terminal.choice import Mistyped
from clients.terminal.showing import replay
from clients.terminal.view import View
from tests.server.conftest import Live, until

KNOWN = [{"id": "rc", "options": {"properties": {"turns": {}}}}]


@pytest.fixture(scope="module")
def url(speaking: Live) -> str:
    return f"{speaking.url}/v1"


def drawn(progress: Progress, width: int, height: int = 24, **options: Any) -> str:
    console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(View(progress, **options))
    return console.export_text()


def test_decoders_and_budgets_as_they_are_typed() -> None:
    assert choice.decoder(["rc", "turns=8"], KNOWN) == {"name": "rc", "turns": 8}
    assert choice.decoder(["new", 'inner={"name":"rc"}', "step=a b"], []) == {
        "name": "new", "inner": {"name": "rc"}, "step": "a b"
    }  # fmt: skip
    assert choice.told({"name": "rc", "turns": 8, "inner": {"name": "e3"}}) == 'rc turns=8 inner={"name":"e3"}'
    assert [choice.budget(word) for word in ("4000", "4k", "4_000", "high")] == [4000, 4000, 4000, "high"]
    for words, told in ((["rcc"], "did you mean rc"), (["rc", "turn=8"], "did you mean turns"), (["rc", "8"], "name=")):
        with pytest.raises(Mistyped, match=told):
            choice.decoder(words, KNOWN)
    for word in ("many", "0", "-4", "k", "²"):
        with pytest.raises(Mistyped, match="is no budget"):
            choice.budget(word)


def test_the_view_has_turns_summaries_and_the_purse(client: LongThink) -> None:
    run = client.solve("hello", decoder={"name": "rc", "turns": 3}, budget=500, seed=1).wait()
    text = drawn(run.progress, 90)
    assert re.search(r"0 +turn +18 one two three.* = 4", text)
    assert re.search(r"1 +summary +18 one two", text)
    assert "90 of 500 tokens, 410 left ████░" in text
    assert text.rstrip().endswith(run.text)
    assert "… 3 earlier steps" in drawn(run.progress, 90, steps=2)


def test_the_view_has_votes_and_verdicts(client: LongThink) -> None:
    run = client.solve("hello", decoder={"name": "best_of_n", "n": 6}, seed=4).wait()
    text = drawn(run.progress, 90)
    assert text.count("accepts") == 2
    for answer, count in run.progress.votes.items():
        assert re.search(rf"{count} {answer}\n|{count} {answer} ", text)


@pytest.mark.parametrize(("width", "height"), [(20, 6), (40, 10), (49, 24), (120, 50)])
def test_the_view_fits_any_terminal_at_any_moment(client: LongThink, width: int, height: int) -> None:
    progress = Progress(budget=400)
    for event in client.solve("hello", decoder={"name": "best_of_n", "n": 6}, seed=4):
        progress.tell(event)
        lines = drawn(progress, width, height).splitlines()
        assert max(map(len, lines), default=0) <= width


def test_what_a_model_says_cannot_write_elsewhere_on_the_screen() -> None:
    progress = Progress()
    progress.tell(Thought("0", "solve", "a\x1b[2J\x07b\tc"))
    progress.tell(Said("x\x9b1Ay\x1b]0;title\x07\nz"))
    text = drawn(progress, 80)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "a�[2J�b c" in text
    assert "x�1Ay�]0;title�\nz" in re.sub(" +\n", "\n", text)


def test_a_replay_shows_what_the_run_showed(client: LongThink) -> None:
    run: Run = client.solve("hello", decoder={"name": "rc", "turns": 3}, budget=500, seed=1).wait()
    console = Console(width=90, record=True, force_terminal=False, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        replay(console, run.trace, speed=1000)
    assert console.export_text() == drawn(run.progress, 90, steps=12)


def test_one_question_for_a_script(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    asked = ["-m", "hello", "--decoder", "rc", "turns=2", "--budget", "500", "--seed", "1", "--url", url]
    assert main([*asked, "--trace", str(trace)]) == 0
    plain = capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert plain == found["text"] + "\n" == Trace.load(trace).text + "\n"
    assert found["longthink"]["decoder"]["turns"] == 2
    assert found["usage"]["completion_tokens"] == found["longthink"]["budget"]["spent"]
    assert main(["--replay", str(trace), "--speed", "1000"]) == 0
    assert found["text"] in capsys.readouterr().out


def test_a_question_from_a_pipe(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"hello\n")
    os.close(writer)
    with open(reader) as piped:
        monkeypatch.setattr("sys.stdin", piped)
        assert main(["--url", url]) == 0
    assert "boxed" in capsys.readouterr().out


def test_any_openai_server_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "benchmarks", "fake-upstream", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http\S+", process.stdout.readline())
        assert found
        assert main(["-m", "hello", "--url", found.group()]) == 0
        assert capsys.readouterr().out == " word" * 12 + "\n"
        assert main(["-m", "hello", "--json", "--url", found.group()]) == 0
        assert json.loads(capsys.readouterr().out)["longthink"] == {}
        process.terminate()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["-m", "x", "--url", "http://127.0.0.1:9/v1"], 1, "no server answers at http://127.0.0.1:9/v1"),
        (["-m", "x", "--model", "nobody"], 1, "nobody"),
        (["-m", "x", "--decoder", "rcc"], 2, "did you mean rc?"),
        (["-m", "x", "--decoder", "rc", "turns=0"], 1, "decoder.turns"),
        (["-m", "x", "--budget", "much"], 2, "no budget"),
        (["-m", "x", "--decoder", "rc", "--budget", "3"], 1, "the run was cut short"),
        (["-m", ""], 2, "no question"),
        (["--replay", "/nowhere"], 2, "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(
    url: str, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, told: str
) -> None:
    assert main([*([] if "--url" in arguments else ["--url", url]), *arguments]) == status
    out, err = capsys.readouterr()
    assert (out, told in err) == ("", True), err


def test_a_url_without_its_path_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "x", "--url", url.removesuffix("/v1")]) == 1
    assert "usually ends in /v1" in capsys.readouterr().err


class Terminal:
    """A session of the command in a terminal of its own; what it writes comes without colours and cursor movements."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._seen = descriptor, ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def interrupt(self, pattern: str) -> None:
        """Control-C until something is written that matches: CPython loses one that comes just before it waits."""
        for _ in range(5):
            self.type("\x03")
            with suppress(AssertionError):
                self.expect(pattern, seconds=4.0)
                return
        raise AssertionError(f"no {pattern!r} after five interrupts")

    def expect(self, pattern: str, seconds: float = 20.0) -> str:
        """Wait until something is written that matches; gives everything up to there."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self._seen)) is None:
            ready, _, _ = select([self._descriptor], [], [], max(end - time.monotonic(), 0))
            assert ready, f"no {pattern!r} in {self._seen!r}"
            data = os.read(self._descriptor, 65536).decode(errors="replace").replace("\r\n", "\n")
            self._seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data)
        told, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return told


@contextmanager
def session(url: str, home: Path, *arguments: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    # the terminal is to be the session's own, and a test in the background has inherited that interrupts are ignored
    code = "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from clients.__main__ import main; sys.exit(main())"
    environment = {**os.environ, "XDG_STATE_HOME": str(home), "TERM": "xterm", "COLUMNS": "90", "LINES": "30"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--url", url, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "NO_COLOR": "1"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        with process:
            try:
                yield Terminal(ours), process
            finally:
                process.kill()
    finally:
        os.close(ours)


def test_a_session_in_a_terminal(url: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    with session(url, tmp_path, "--seed", "1") as (terminal, process):
        terminal.expect("decoder the server's default · budget the server's default[^>]*> ")
        terminal.type("/decoder rc turns=3\r")
        terminal.expect("decoder rc turns=3 ·[^>]*> ")
        terminal.type("/budget 500\r")
        terminal.expect("budget 500\n> ")
        terminal.type("hello\r")
        terminal.expect(r"4 +turn.*\n90 of 500 tokens, 410 left.*\n\s+it is \\boxed\{\d+\}\s+> ")
        terminal.type(f"/save {trace}\r")
        terminal.expect("saved[^>]*> ")
        terminal.type("/turns\r")
        terminal.expect("there is no command /turns[^>]*> ")
        terminal.type("/replay\r")
        terminal.expect("90 of 500 tokens[^>]*> ")
        terminal.type("/decoder rc turns=100000\r")
        terminal.expect("turns=100000 ·[^>]*> ")
        terminal.type("again\r")
        terminal.expect("1024[^>]*> ")  # the server's refusal
        terminal.type("/edit\r")
        terminal.expect("> hello")
        terminal.interrupt("> ")
        terminal.type("/quit\r")
        assert process.wait(10) == 0
    assert [message["content"] for message in Trace.load(trace).messages] == ["hello"]
    assert "/decoder rc turns=3" in (tmp_path / "longthink" / "chat-history").read_text()


def test_an_interrupt_stops_the_run_and_not_the_session(url: str, speaking: Live, tmp_path: Path) -> None:
    with session(url, tmp_path, "--decoder", "rc", "turns=500", "--budget", "max") as (terminal, process):
        terminal.expect("> ")
        terminal.type("think long\r")
        terminal.expect("turn")
        terminal.type("\x03")
        terminal.expect("stopped\n> ")
        assert until(lambda: speaking.engine.open_calls == 0, 5)
        terminal.type("/decoder rc turns=2\r")
        terminal.expect("turns=2 ·[^>]*> ")
        terminal.type("hello\r")
        terminal.expect(r"it is \\boxed[^>]*> ")
        terminal.type("/edit\r")
        terminal.expect("> hello")
        terminal.type(" there\r")
        terminal.expect(r"it is \\boxed[^>]*> ")
        terminal.type("/history\r")
        assert "think long" not in terminal.expect("1 hello there\n> ")
        terminal.type("/fresh\r")
        terminal.expect("every question by itself\n> ")
        terminal.type("alone\r")
        terminal.expect(r"it is \\boxed[^>]*> ")
        terminal.type("/history\r")
        assert "hello" not in terminal.expect("1 alone\n> ")
        terminal.type("\x04")
        assert process.wait(10) == 0


def test_a_session_without_a_server_says_so(tmp_path: Path) -> None:
    with session("http://127.0.0.1:9/v1", tmp_path) as (terminal, process):
        terminal.expect("no server answers at http://127.0.0.1:9/v1")
        assert process.wait(10) == 1
