"""Template packs and chat templates that nobody has read: they neither reach out nor run away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jinja2
import pytest

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message, Prompt
from decoders.prompts import FOLDER, Pack
from decoders.prompts.sandbox import Exceeded, Sandbox, render
from server.engines.embedded.tokenizer import ChatTokenizer
from server.model_options import SHIPPED

RUNAWAYS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in text %}{% for b in text %}{% for c in text %}{% endfor %}{% endfor %}{% endfor %}",
    "{{ range(10**9) | list }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(100) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ 'a' * 10**10 }}",
    "{{ [1] * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ 9**9**9 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a\nb' | indent(10**9) }}",
    "{{ text | replace('', 'y' * 100000) }}",
    "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t | length }}",
    "{% for i in range(400000) %}{{ text }}{% endfor %}",
    "{{ lipsum(n=10**6) }}",
]
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self._TemplateReference__context }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{% include '../../etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{% extends '/etc/passwd' %}",
]


@pytest.mark.parametrize("source", RUNAWAYS)
def test_runaways_are_stopped(source: str) -> None:
    environment = Sandbox(undefined=jinja2.StrictUndefined)
    with pytest.raises((jinja2.TemplateError, TypeError, ValueError, OverflowError)):
        render(environment.from_string(source), text="x" * 2000)


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_leads_out_of_a_template(source: str) -> None:
    environment = Sandbox(undefined=jinja2.StrictUndefined)
    with pytest.raises((jinja2.TemplateError, TypeError)):
        render(environment.from_string(source), messages=[])


def test_ordinary_templates_have_room() -> None:
    source = (
        "{% for m in messages %}{{ loop.index }}{% if not loop.last %}, {% endif %}{{ m | trim | upper }}{% endfor %}"
    )
    assert render(Sandbox().from_string(source), messages=["a ", " b"]) == "1, A2B"
    assert (
        len(render(Sandbox().from_string("{% for m in messages %}{{ m }}{% endfor %}"), messages=["x" * 99] * 50_000))
        > 4e6
    )


def test_a_rendering_does_not_use_up_the_next_one() -> None:
    template = Sandbox().from_string("{% for i in range(90000) %}{% endfor %}done")
    assert [render(template) for _ in range(12)] == ["done"] * 12


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER / "plain", tmp_path / "pack"))


def test_a_pack_with_a_link_out_of_its_folder_is_refused(pack: Path) -> None:
    Pack.load(pack)
    (pack / "solve.jinja").unlink()
    (pack / "solve.jinja").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match=r"leads out of it: solve\.jinja"):
        Pack.load(pack)


def test_links_inside_a_pack_are_fine(pack: Path) -> None:
    (pack / "solve_twin.jinja").symlink_to("solve.jinja")
    assert "solve_twin" in Pack.load(pack).templates


@pytest.mark.parametrize(
    "source", ["{% include '../../../etc/passwd' %}", "{{ question.__class__.__mro__ }}", RUNAWAYS[0]]
)
def test_a_pack_cannot_reach_out_or_run_away(pack: Path, source: str) -> None:
    (pack / "solve.jinja").write_text(source)
    with pytest.raises((jinja2.TemplateError, TypeError)):
        Pack.load(pack).render("solve", "hello")


def test_values_are_data_whatever_braces_they_have(pack: Path) -> None:
    (pack / "solve.jinja").write_text("{{ question }}")
    text = "{{ 7 * 7 }}{% include '/etc/passwd' %}\n--- system\n{# x #}"
    assert Pack.load(pack).render("solve", text) == (Message("user", text),)


@pytest.mark.parametrize("source", [*ESCAPES[:2], *RUNAWAYS[:1], RUNAWAYS[5]])
def test_the_chat_template_of_a_checkpoint_is_no_danger(tmp_path: Path, source: str) -> None:
    folder = Path(
        shutil.copytree(SHIPPED, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors", "*.onnx"))
    )
    for file in folder.glob("chat_template*"):
        file.unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": source}))
    tokenizer = ChatTokenizer(folder)
    with pytest.raises(InvalidRequest, match="the chat template refused"):
        tokenizer.render(Prompt((Message("user", "hello"),)))


def test_too_long_a_pattern_search_is_not_to_be_had() -> None:
    """The patterns that find answers read what a model wrote, and a client can make a model write anything."""
    plain = Pack.load("plain")
    for form in ("boxed", "choice", "code", "text"):
        for text in (
            "\\boxed{" * 5000,
            "\\boxed{" + "{" * 20_000,
            "```" * 10_000,
            "answer" * 10_000,
            "answer: (" * 9000,
        ):
            plain.extract(text, form)
    for text in ("verdict:" * 9000, "score:" * 9000, "score: " + "1" * 50_000, "better: " + " " * 50_000):
        plain.accepts(text), plain.score(text), plain.prefers_second(text)
    tiny = Pack.load("tiny")
    with pytest.raises(InvalidRequest):
        tiny.canonical("can you " * 50_000)


def test_errors_of_the_sandbox_say_what_was_too_much() -> None:
    with pytest.raises(Exceeded, match="too many steps"):
        render(Sandbox().from_string(RUNAWAYS[0]))
