"""The walk finds what a reader would do, in order, and tells what it left out; it fails where a step does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import rules
from tests.docs.markdown import Page, Piece, pages
from tests.docs.session import Session
from tests.docs.steps import Step, steps
from tests.docs.walk import walk

EVERY = [step for page in pages() for step in steps(page)]


def page(text: str, path: str = "page.md") -> Page:
    return Page(Path(path), text)


def command(text: str) -> Step:
    return Step(Piece(Path("page.md"), 1, text), "command")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    scratch, folder = tmp_path / "scratch", tmp_path / "folder"
    scratch.mkdir()
    folder.mkdir()
    made = Session(folder, scratch, dict(os.environ))
    yield made
    made.close()


def test_steps_are_in_the_order_of_the_page() -> None:
    text = """Run `make check`, or `longthink bench`.

        longthink serve --port 1 \\
            --model x   # a comment
        # only a comment

    ```python
    print(1)
    ```

        y ~ p(y | x)
    """
    found = steps(page("\n".join(line.removeprefix("    ") for line in text.splitlines())))
    assert [(step.piece.line, step.kind) for step in found] == [
        (1, "command"),
        (1, "named"),
        (3, "command"),
        (8, "python"),
    ]
    assert found[2].text == "longthink serve --port 1 \\\n    --model x   # a comment"


def test_lines_without_the_prompt_are_what_is_printed() -> None:
    [first, second] = steps(page("```\n$ curl 'x\ny'\n{…}\n$ curl z\n```"))
    assert (first.text, first.shown) == ("curl 'x\ny'", "{…}\n")
    assert (second.text, second.shown) == ("curl z", "")


def test_every_choice_is_a_step() -> None:
    found = steps(page("    longthink bench load [--stream | --rounds 2]"))
    assert [step.text.split()[3:] for step in found] == [[], ["--stream"], ["--rounds", "2"]]


@pytest.mark.parametrize("skip", rules.SKIPS, ids=lambda skip: skip.reason)
def test_no_reason_to_skip_is_left_over(skip: rules.Skip) -> None:
    assert any(skip.matches(step) for step in EVERY if step.kind != "named" or skip.page)


@pytest.mark.parametrize("rule", rules.SMALLER, ids=lambda rule: rule.pattern)
def test_no_smaller_command_is_left_over(rule: rules.Smaller) -> None:
    assert any(rule.applied(step.text) != step.text for step in EVERY if not rules.reason(step))


@pytest.mark.parametrize("needed", rules.NEEDED, ids=lambda needed: needed.pattern)
def test_nothing_that_is_needed_is_left_over(needed: rules.Needed) -> None:
    assert any(rules.needed(step) == needed.commands for step in EVERY if not rules.reason(step))


def test_a_smaller_command_keeps_its_other_options_and_its_comment() -> None:
    assert rules.smaller("longthink bench accuracy --problems 300 --n 1   # x") == (
        "longthink bench accuracy --problems 4 --n 1   # x"
    )
    assert rules.smaller("longthink train sft --set seed=2 --set steps=99") == (
        "longthink train sft --set steps=2 --set seed=2"
    )
    assert rules.smaller("longthink train sft && longthink train rc") == (
        "longthink train sft --set steps=2 && longthink train rc --set steps=2"
    )
    assert rules.smaller("longthink train --list") == "longthink train --list"


def test_most_commands_are_run() -> None:
    shown = [step for step in EVERY if step.kind != "named" and str(step.piece.page) != "docs/structure.md"]
    assert sum(not rules.reason(step) for step in shown) > len(shown) / 2


@pytest.mark.parametrize("text", ["make serve ARGS='--port 9'", "longthink serve", "A='b' longthink serve --port 9"])
def test_a_server_goes_on_running(text: str) -> None:
    assert rules.background(text)
    assert rules.port(text) == (9 if "9" in text else 8000)
    assert not rules.background("longthink serve --help")


def test_a_walk_remembers_and_fails(session: Session) -> None:
    text = "```bash\nexport NAME=two\ncurl --version >/dev/null; echo one $NAME\n```\n```python\nx = 'th'\n```\n"
    text += (
        "```python\nprint(x + 'ree')\n```\n```\n$ echo a b c; # make\na … c\n$ make nothing\n$ echo a; # make\nb\n```\n"
    )
    found = list(walk(page(text), session))
    assert [outcome.status for outcome in found] == ["done", "done", "done", "done", "done", "FAILED", "FAILED"]
    assert "No rule to make target" in found[5].about
    assert "the page shows" in found[6].about


def test_a_server_is_there_for_the_steps_behind_it_and_no_longer(session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = f"longthink() {{ python3 -m http.server $3 --bind 127.0.0.1; }}; longthink serve --port {port}"
    fetch = f"curl -s http://127.0.0.1:{port}/"
    found = list(walk(page(f"```bash\n{serve}\n{fetch}\n{fetch}nothing\n```"), session, ["touch here"]))
    assert [outcome.status for outcome in found] == ["done", "done", "done", "FAILED"]
    assert "404" in found[3].about
    session.close()
    [after] = walk(page(f"```bash\n{fetch}\n```"), session)
    assert after.status == "FAILED"


def test_what_is_left_out_is_told() -> None:
    assert rules.reason(command("docker run x")) == "needs Docker or a Kubernetes cluster"
    assert rules.reason(command("longthink serve   # docker run … <name>")) == ""
