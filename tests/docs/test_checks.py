"""Each check tells a mistake with its place, and lets pass what it cannot judge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import checks
from tests.docs.markdown import Page

CURL = 'curl http://127.0.0.1:8000/v1/%s -d \'{"model": "m",\n "messages": [{"role": "user", "content": "x"}]%s}\''
CREATE = "client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'x'}], extra_body=%s)"


def shell(text: str) -> str:
    return f"```bash\n{text}\n```"


def python(text: str) -> str:
    return f"```python\n{text}\n```"


WRONG = [
    ("commands", shell("longthink fly"), "no command 'fly'"),
    ("commands", "`longthink bench fly`", "unknown benchmark"),
    ("commands", "`longthink serve --fly 1`", "unrecognized arguments: --fly"),
    ("commands", "`longthink serve --port many`", "port: Input should be a valid integer"),
    ("commands", shell("longthink bench interaction"), "required: --output"),
    ("commands", "`longthink bench load --fly`", "unrecognized arguments"),
    ("commands", "`longthink bench accuracy --decoder fly`", "unknown decoder"),
    ("commands", "`longthink bench accuracy --decoder rc --set fly=1`", "Extra inputs"),
    ("commands", "`longthink bench accuracy --task fly`", "no task fly"),
    ("commands", "`longthink bench suite fly`", "fly.toml"),
    ("commands", "`longthink train fly`", "invalid choice"),
    ("commands", shell("longthink train grpo --set loss.fly=1"), "loss.fly: Extra inputs"),
    ("commands", shell("longthink train grpo --preset fly"), "there are"),
    ("commands", shell("longthink keys create --file k.toml"), "required: --id"),
    ("commands", "`make fly`", "no target fly"),
    ("commands", shell("make serve ARGS='--fly'"), "unrecognized arguments"),
    ("commands", "`python -m training.fly`", "no module training.fly"),
    ("commands", shell("A='b c' .venv/bin/python -m training.skills --fly"), "required: --model"),
    ("commands", shell("longthink bench load [--stream | --fly]"), "unrecognized arguments: --fly"),
    ("flags", "say `--fly 7`", "no command has this option"),
    ("settings", "| setting | |\n|---|---|\n| `port`, `fly` | |", "no such setting"),
    ("settings", "```toml\n[upstream_options]\nfly = 1\n```", "upstream_options.fly"),
    ("endpoints", "`/v1/fly`", "no such endpoint"),
    ("endpoints", "`PUT /v1/models`", "no such endpoint"),
    ("endpoints", "`POST …/{id}/fly`", "no such endpoint"),
    ("curls", shell(CURL % ("fly", "")), "POST /v1/fly"),
    ("curls", shell(CURL % ("chat/completions", ', "fly": 1')), "unknown parameter fly"),
    ("curls", shell(CURL % ("chat/completions", ', "decoder": {"name": "rc", "turns": 0}')), "decoder.turns"),
    ("python", python("from decoders import fly"), "decoders has no fly"),
    ("python", python("import server.fly"), "no module server.fly"),
    ("python", python("one two"), "invalid syntax"),
    ("python", python(CREATE % "{'decoder': {'name': 'rc', 'fly': 1}}"), "decoder.fly"),
    ("decoders", "`longthink-tiny:fly`", "no decoder fly"),
    ("decoders", '`{"name": "rc", "turns": "many"}`', "decoder.turns"),
    ("names", "longthink:flying_total", "no such metric"),
    ("names", "`LONGTHINK_FLY=1`", "no setting has this variable"),
    ("names", "`pip install 'longthink[fly]'`", "no such extra"),
    ("files", "`server/fly.py`", "no such file"),
    ("files", shell("python -m pytest tests/fly.py"), "no such file"),
    ("links", "[x](fly.md)", "no such file"),
    ("links", "[x](#fly)", "no such heading"),
    ("links", "[x](docs/api.md#fly)", "no such heading"),
]

RIGHT = [
    "`longthink serve --help`, `longthink serve --model <folder>`, `longthink train <recipe> --set name=value`",
    "`longthink bench load --against`, `longthink bench suite`, `longthink serve --model`",
    "`--vllm.anything 3`, `--no-log-requests`",
    shell("longthink serve --config yours.toml --upstream http://x/v1   # a comment"),
    shell(
        "$ longthink bench load --pid <pid> --requests 10 \\\n    --rounds 1 [--stream | --decoder rc --set turns=2]"
    ),
    shell("pip install x && longthink keys list --file k.toml"),
    shell(CURL % ("chat/completions", ', "decoder": "rc"')),
    python("import a_package_that_is_not_here"),
    python(CREATE % "options"),
    "`POST …/{id}/cancel`, `GET …/{id}?stream=true`, `/schema`, `/v1/models/{anything}`",
    "`longthink:decoder_steps_bucket`, `longthink:`, `longthink-tiny:rc`, `LONGTHINK_…`, `LONGTHINK_PORT=9000`",
    "[x](docs/api.md#agents), [y](https://example.org/fly.md#fly), `decoders/<name>.py`, `docker/secrets/key`",
]


def page(text: str) -> Page:
    return Page(Path("page.md"), f"# Title\n\n{text}\n")


@pytest.mark.parametrize(("check", "text", "told"), WRONG, ids=lambda value: str(value)[:40].replace("\n", " "))
def test_a_mistake_is_told_with_its_place(check: str, text: str, told: str) -> None:
    found = list(getattr(checks, check)(page(text)))
    assert [problem for problem in found if told in problem], found
    assert all(re.match(r"page\.md:[3-7]: ", problem) for problem in found)


@pytest.mark.parametrize("text", RIGHT, ids=lambda text: text[:40].replace("\n", " "))
def test_what_is_right_or_cannot_be_judged_passes(text: str) -> None:
    assert [problem for check in checks.CHECKS for problem in check(page(text))] == []


def test_anchors_are_those_of_github() -> None:
    headings = page("## `two` & [three](x)\n\n## Title\n\n## 1,000 streams, it's said")
    assert headings.anchors == {"title", "two--three", "title-1", "1000-streams-its-said"}


def test_a_piece_knows_its_line_and_heading() -> None:
    lines = page("## Two\n\none\n`a` and\n[b](c)\n\n| x |\n|---|\n| `y` |\n\n```toml\nz = 1\n```")
    pieces = [*lines.codes, *lines.links, *lines.rows[1], *lines.blocks]
    assert [(piece.text.strip(), piece.line, piece.heading) for piece in pieces] == [
        ("a", 6, "Two"),
        ("y", 11, "Two"),
        ("c", 7, "Two"),
        ("`y`", 11, "Two"),
        ("z = 1", 14, "Two"),
    ]
