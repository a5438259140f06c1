"""What a page may not say: each check yields what does not exist, with its place.

Rule: only what can be decided is judged. A check that would have to guess is not made.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from os.path import normpath
from pathlib import Path

from decoders import registry
from server.settings import PREFIX
from tests.docs import existing, parsing, requests, shell
from tests.docs.markdown import ROOT, Page, Piece, read

FOREIGN_FLAGS = {"--scheduling-policy": "vLLM's", "--no-recreate": "Docker's", "--stop-timeout": "Docker's"}
"""Options of other programs that sentences mention by themselves."""
_METHODS = "GET|POST|PUT|PATCH|DELETE"


def commands(page: Page) -> Iterator[str]:
    """Commands, options and their values, as the programs themselves judge them."""
    for command in shell.commands(page):
        try:
            _check(command)
        except parsing.Refused as refused:
            yield f"{command.piece.place}: `{command}`: {refused}"


def _check(command: shell.Command) -> None:
    words = command.words
    match command.program:
        case "longthink":
            parsing.check(words, partial=command.partial)
        case "python" if "-m" in words[:-1]:
            at = words.index("-m")
            parsing.check_module(words[at + 1], words[at + 2 :])
        case "make":
            given = dict(word.split("=", 1) for word in words if "=" in word)
            for target in (word for word in words if "=" not in word and not word.startswith("-")):
                if target not in existing.targets():
                    raise parsing.Refused(f"the Makefile has no target {target}")
            if "ARGS" in given and "serve" in words:
                parsing.check(("serve", *given["ARGS"].split()))


def flags(page: Page) -> Iterator[str]:
    """Options that a sentence mentions without their command."""
    for code in page.codes:
        name = re.match(r"--[a-z][\w.-]*", code.text)
        if name and not name[0].startswith("--vllm.") and name[0] not in parsing.flags() | FOREIGN_FLAGS.keys():
            yield f"{code.place}: `{code.text}`: no command has this option"


def settings(page: Page) -> Iterator[str]:
    """The first column of tables of settings, and TOML files."""
    names = {flag.removeprefix("--").replace("-", "_") for flag in parsing.flags()}
    column = ""
    for row in page.rows:
        if not row[0].text.startswith("`"):
            column = row[0].text
        elif column == "setting":
            for name in re.findall(r"`([a-z_.]+)`", row[0].text):
                if name not in names:
                    yield f"{row[0].place}: `{name}`: there is no such setting"
    for block in page.fences("toml"):
        yield from (f"{block.place}: {problem}" for problem in requests.settings_problems(block))


def endpoints(page: Page) -> Iterator[str]:
    """Paths with their methods."""
    for code in page.codes:
        if endpoints_of(code.text) == set():
            yield f"{code.place}: `{code.text}`: there is no such endpoint"


def endpoints_of(text: str) -> set[tuple[str, str]] | None:
    """The routes that a text stands for, with `…` for what another path begins with; None where it is no endpoint.

    A path without a method is one only under `/v1/`: others may be of other servers, or folders.
    """
    found = re.fullmatch(rf"(?:({_METHODS}) )?(…?)(/\S*)", text)
    if found is None or not (found[1] or found[2] or found[3].startswith("/v1/")):
        return None
    path = existing.blanked(found[3]).removesuffix("*")
    return {
        (method, known)
        for known, methods in existing.routes().items()
        for method in methods
        if found[1] in (None, method) and (known.endswith(path) if found[2] else known == path)
    }


def curls(page: Page) -> Iterator[str]:
    """Requests by `curl` to a longthink server: endpoint and body."""
    for command in shell.commands(page):
        if command.program == "curl" and any(":8000/" in word for word in command.words):
            method, path, body = requests.body_of(command)
            if method not in existing.routes().get(path, ()):
                yield f"{command.piece.place}: {method} {path}: there is no such endpoint"
            elif body is not None:
                try:
                    found = json.loads(body)
                except ValueError as error:
                    yield f"{command.piece.place}: the body is no JSON: {error}"
                else:
                    yield from (f"{command.piece.place}: {p}" for p in requests.problems_of(path, found))


def python(page: Page) -> Iterator[str]:
    """Python code: that it is some, that what it imports is there, that the server would take what it sends."""
    for block in page.fences("python"):
        try:
            tree = ast.parse(block.text)
        except SyntaxError as error:
            yield f"{block.page}:{block.line + (error.lineno or 1) - 1}: {error.msg}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from (f"{page.path}:{block.line + node.lineno - 1}: {p}" for p in _missing(node))
        for call, path, body in requests.python_requests(block):
            yield from (f"{call.place}: {p}" for p in requests.problems_of(path, body))


def _missing(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Of packages that are not installed here nothing is known."""
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    for name in modules:
        if find_spec(name.split(".")[0]) is None and name.split(".")[0] not in existing.PACKAGES:
            continue
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            yield f"there is no module {name}"
            continue
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if not hasattr(module, alias.name) and find_spec(f"{name}.{alias.name}") is None:
                yield f"{name} has no {alias.name}"


def decoders(page: Page) -> Iterator[str]:
    """Decoders after a model's name, and objects that name one with its options."""
    for code in page.codes:
        for name in re.findall(r"(?:longthink-tiny(?:-agent)?|…):([a-z]\w+)", code.text):
            if name not in registry():
                yield f"{code.place}: `{code.text}`: there is no decoder {name}"
        yield from (f"{code.place}: {problem}" for problem in requests.decoder_problems(code))


def names(page: Page) -> Iterator[str]:
    """Metrics, environment variables and extras, wherever they stand."""
    metrics = existing.metrics()
    shown = {f"{name}{end}" for name in metrics for end in ("", "_bucket", "_sum", "_count")}
    for number, line in enumerate(page.text.splitlines(), 1):
        for name in re.findall(r"\blongthink[:_]([a-z0-9_]+)(?!\w)", line):
            if "_" in name and name not in shown | registry().keys():
                yield f"{page.path}:{number}: longthink:{name}: there is no such metric"
        for name in re.findall(rf"\b{PREFIX}[A-Z_]+", line):
            if name.rstrip("_") not in existing.variables() and name != PREFIX:
                yield f"{page.path}:{number}: {name}: no setting has this variable"
        for extra in re.findall(r"(?:longthink|'\.)\[(\w+)\]", line):
            if extra not in existing.extras():
                yield f"{page.path}:{number}: [{extra}]: there is no such extra"


def files(page: Page) -> Iterator[str]:
    """Paths in this repository; the pages on structure name modules by their package."""
    for code in [*page.codes, *_words(page)]:
        path = code.text.rstrip("/").split("::")[0]
        ours = re.fullmatch(rf"(?:{'|'.join(existing.FOLDERS)})(/[\w.-]+)+", path)
        if ours and not (ROOT / path).exists() and not path.startswith(existing.made_by_readers()):
            yield f"{code.place}: `{code.text}`: there is no such file"
    if page.path == Path("docs/structure.md"):
        yield from _modules(page)


def _words(page: Page) -> Iterator[Piece]:
    for command in shell.commands(page):
        for word in command.words:
            if "." in word:
                yield Piece(command.piece.page, command.piece.line, word)


def _modules(page: Page) -> Iterator[str]:
    """A module's name counts from its package, or from the folder of the one that was named before it."""
    for row in page.rows:
        before = package = Path(row[0].heading.strip("/"))
        for name in re.findall(r"`([\w./-]+)`", row[0].text):
            if package.name in existing.PACKAGES and re.search(r"\.py$|/$|\.lua$", name):
                found = next((p for p in (package / name, before / name, Path(name)) if (ROOT / p).exists()), None)
                if found is None:
                    yield f"{row[0].place}: `{name}`: there is no such module in {package}/"
                else:
                    before = found.parent


def links(page: Page) -> Iterator[str]:
    """Links and pictures within the repository, with their anchors."""
    for link in page.links:
        target, _, anchor = link.text.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = Path(normpath(page.path.parent / target)) if target else page.path
        if target and not (ROOT / path).exists():
            yield f"{link.place}: {link.text}: there is no such file"
        elif anchor and anchor not in (read(path) if target else page).anchors:
            yield f"{link.place}: {link.text}: there is no such heading"


CHECKS: tuple[Callable[[Page], Iterator[str]], ...] = (
    commands,
    flags,
    settings,
    endpoints,
    curls,
    python,
    decoders,
    names,
    files,
    links,
)
