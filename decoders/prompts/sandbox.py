"""Jinja that strangers may write: the templates of packs and of checkpoints. Rule: a template can neither reach out of
itself nor take more than its share of time and memory; what it is given is data, whatever braces stand in it.

There is no loader, so nothing can be included. Loops and calls are counted for each rendering, numbers that make text
long are bounded, and so is the text that comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

STEPS = 200_000
"""Rounds of loops and calls in one rendering."""
TEXT = 16 * 1024 * 1024
"""Characters of one text or items of one list that a template makes."""
NUMBER = 10_000
"""The largest number that a filter or call may be given: widths, indents, repetitions."""
_WIDTH = re.compile(r"[0-9]{5,}|\*")

_left: ContextVar[list[int]] = ContextVar("steps left")


class Exceeded(jinja2.TemplateRuntimeError):
    """The template wants more than its share."""


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for templates that nobody has read."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, autoescape=False, **options)
        self.filters = {name: _bounded(call) for name, call in self.filters.items()} | {
            "counted": _counted,
            "joined": _joined,
        }
        self.globals.pop("lipsum")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Puts a counter into every loop and a bound on what is joined."""
        counted: nodes.Template = _Bounds().visit(super()._parse(source, name, filename))
        return counted

    def call(self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call from a template: counted, and not with numbers or for texts that are too large."""
        _spend()
        _fit(__obj, args, kwargs)
        return _sized(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator that can make much of little."""
        if operator == "*" and (_size(left) or 1) * (_size(right) or 1) * _times(left, right) > TEXT:
            raise Exceeded("a template repeats a text too often")
        if operator == "**" and (abs(left) > NUMBER or abs(right) > 64):
            raise Exceeded("a template computes too large a number")
        if operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            raise Exceeded("a template formats to too great a width")
        return _sized(super().call_binop(context, operator, left, right))


class _Bounds(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None, lineno=node.lineno)
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        joined = nodes.List(node.nodes, lineno=node.lineno)
        return self.generic_visit(nodes.Filter(joined, "joined", [], [], None, None, lineno=node.lineno))


def render(template: jinja2.Template, **values: object) -> str:
    """The text of a template of a `Sandbox`. Raises jinja's errors, `Exceeded` among them."""
    token = _left.set([STEPS])
    try:
        pieces, length = [], 0
        for piece in template.generate(**values):
            length += len(piece)
            if length > TEXT:
                raise Exceeded("a template makes too long a text")
            pieces.append(piece)
        return "".join(pieces)
    except (MemoryError, RecursionError, OverflowError) as error:
        raise Exceeded(f"a template went too far: {type(error).__name__}") from error
    finally:
        _left.reset(token)


def _spend() -> None:
    left = _left.get()
    left[0] -= 1
    if left[0] < 0:
        raise Exceeded("a template takes too many steps")


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend()
        yield item


def _joined(parts: list[Any]) -> str:
    return str(_sized("".join(map(str, parts))))


def _bounded(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _spend()
        _fit(call, args, kwargs)
        return _sized(call(*args, **kwargs))

    return bounded


def _fit(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses arguments by which text grows out of proportion."""
    given = [*args, *kwargs.values()]
    # a filter's first argument is what it works on: numbers there are data
    if any(isinstance(value, int) and abs(value) > NUMBER for value in (*args[1:], *kwargs.values())):
        raise Exceeded("a template passes too large a number")
    texts = [
        value
        for value in (getattr(getattr(call, "__wrapped__", call), "__self__", None), *given)
        if isinstance(value, str)
    ]
    name = getattr(call, "__name__", "")
    if "replace" in name and len(texts) > 2 and len(texts[0]) * len(texts[2]) > TEXT and len(texts[2]) > NUMBER:
        raise Exceeded("a template makes too long a text")
    if name in ("format", "do_format", "format_map") and any(_WIDTH.search(text) for text in texts[:1]):
        raise Exceeded("a template formats to too great a width")
    if name in ("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes") and any(
        isinstance(value, int) and abs(value) > NUMBER for value in args
    ):
        raise Exceeded("a template passes too large a number")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _times(left: Any, right: Any) -> int:
    return max((abs(value) for value in (left, right) if isinstance(value, int)), default=1)


def _sized(value: Any) -> Any:
    if _size(value) > TEXT:
        raise Exceeded("a template makes too long a text")
    return value
