"""Template packs: the prompts of every decoder, one folder per family of models.

A pack is a folder with `pack.toml` and one `<name>.jinja` per prompt. A template is one user message, or several
messages under lines `--- user` / `--- assistant`; the file is cut into messages before it is rendered, so nothing in a
question can open a message. Rule: a template that names a value nobody passed is an error (StrictUndefined).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import jinja2

from decoders.core.errors import InvalidRequest, MissingPrompt, OutOfScope
from decoders.core.messages import Message, Role
from decoders.core.verification import PARAGRAPH
from decoders.prompts.ladder import Rung, read
from decoders.prompts.sandbox import Sandbox, render

FOLDER = Path(__file__).parent
_FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?```", re.DOTALL)
_SECTION = re.compile(r"^--- (system|user|assistant)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Format:
    """The form in which answers are wanted: the sentence that asks for it, and the regular expression that finds it."""

    instruction: str = ""
    pattern: str = ""

    def find(self, reply: str) -> str | None:
        """The answer in a reply: the last match of the pattern; None where there is none."""
        matches = re.findall(self.pattern, reply, re.DOTALL | re.MULTILINE) if self.pattern else []
        return str(matches[-1]) if matches else None


@dataclass(frozen=True)
class Pack:
    """The templates of one folder, with the checkpoint's question format and option defaults from `pack.toml`."""

    name: str
    version: str
    """Fingerprint of all files: it stands in every trace."""
    templates: Mapping[str, tuple[tuple[Role, jinja2.Template], ...]]
    config: Mapping[str, Any] = field(default_factory=dict)
    ladder: tuple[Rung, ...] = ()
    """What to decode with at which budget, from `ladder.json`, where the pack has one."""

    @classmethod
    def load(cls, name_or_folder: str | Path) -> Pack:
        """A pack that ships with the project, by name, or anybody's, by folder."""
        folder = Path(name_or_folder)
        if not folder.is_dir():
            folder = FOLDER / str(name_or_folder)
        if not (folder / "pack.toml").is_file():
            raise FileNotFoundError(f"no template pack at {name_or_folder}: a pack is a folder with a pack.toml")
        environment = Sandbox(undefined=jinja2.StrictUndefined)
        templates: dict[str, tuple[tuple[Role, jinja2.Template], ...]] = {}
        digest = hashlib.sha256()
        ladder = folder / "ladder.json"
        for path in [*sorted(folder.glob("*.jinja")), folder / "pack.toml", *([ladder] if ladder.is_file() else [])]:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"the template pack {folder} has a link that leads out of it: {path.name}")
            source = path.read_text(encoding="utf-8")
            digest.update(path.name.encode() + b"\0" + source.encode() + b"\0")
            if path.suffix == ".jinja":
                _, *parts = _SECTION.split(source) if _SECTION.match(source) else ("", "user", source)
                templates[path.stem] = tuple(
                    (cast(Role, role), environment.from_string(text.rstrip("\n")))
                    for role, text in zip(parts[::2], parts[1::2], strict=True)
                )
        config = tomllib.loads((folder / "pack.toml").read_text(encoding="utf-8"))
        rungs = read(ladder) if ladder.is_file() else ()
        return cls(folder.name, digest.hexdigest()[:12], templates, config, rungs)

    def render(self, name: str, question: str, **values: object) -> tuple[Message, ...]:
        """The messages of prompt `name`; `question` is first brought into the form this checkpoint knows."""
        return self.fill(name, question=self.canonical(question), **values)

    def fill(self, name: str, **values: object) -> tuple[Message, ...]:
        """The messages of prompt `name` with these values, the question among them, as they are."""
        self.require(name)
        values = {"answer_format": self.format().instruction, "wanted_format": "", **values}
        return tuple(Message(role, render(template, **values)) for role, template in self.templates[name])

    def require(self, *names: str) -> None:
        """Raises `MissingPrompt` for a prompt that this pack lacks; decoders ask before they spend anything."""
        for name in names:
            if name not in self.templates:
                message = f"the template pack {self.name} has no prompt {name!r}, which this decoder needs"
                raise MissingPrompt(message, param="decoder")

    def canonical(self, question: str) -> str:
        """The question in the one form that the checkpoint was trained with; most packs leave it as it is.

        Raises `OutOfScope` where the pack says what its checkpoint knows and the question is not of that kind.
        """
        if not self._patterns:
            return question
        text = re.sub(r"\s+", " ", question.strip().lower())
        for pattern in self._patterns if len(text) < 200 else ():
            if match := pattern.fullmatch(text):
                numbers = sorted((int(n) for n in re.findall(r"\d+", match["numbers"])), reverse=True)
                target = int(match["target"])
                scope = self.config["scope"]
                inside = all(scope["numbers"][0] <= n <= scope["numbers"][1] for n in numbers)
                if inside and scope["target"][0] <= target <= scope["target"][1]:
                    return f"use {' '.join(map(str, numbers))} to make {target}"
        raise OutOfScope(self.config["scope"]["message"], param="messages")

    def extract(self, answer: str, form: str = "") -> str:
        """What two answers must share to count as the same: the last match of the format's pattern, or all text."""
        found = self.format(form).find(answer)
        return " ".join((answer if found is None else found).split())

    def format(self, name: str = "") -> Format:
        """An answer format of this pack, its own default without a name. Raises `InvalidRequest` for an unknown one."""
        formats: Mapping[str, Mapping[str, str]] = self.config.get("formats", {})
        name = name or self.config.get("format", "")
        if not name:
            return Format()
        if name not in formats:
            known = ", ".join(formats) or "none"
            message = f"the template pack {self.name} has no answer format {name!r}: there are {known}"
            raise InvalidRequest(message, param="answer_format")
        return Format(**formats[name])

    @property
    def boundary(self) -> str:
        """The regular expression of what lies between two steps of a reply."""
        return str(self.config.get("step_pattern", PARAGRAPH))

    def structured(self, schema: str) -> str:
        """The sentence that asks for an answer in JSON of this JSON Schema, where the pack has one."""
        return str(self.config.get("structured", "")).replace("{schema}", schema)

    def accepts(self, verdict: str) -> bool:
        """Whether a verifier's reply accepts the answer that it was shown."""
        return re.search(self.config["accept_pattern"], verdict.strip(), re.IGNORECASE) is not None

    def acceptance(self, verdict: str) -> float:
        """How far a verifier's reply accepts the answer: 1 or 0, or its mark where the pack is for one that marks."""
        if self.config.get("verdicts") == "marks":
            return self.score(verdict) or 0.0
        return float(self.accepts(verdict))

    def score(self, verdict: str) -> float | None:
        """The mark from 0 to 1 in a verifier's reply, None where there is none.

        A pack without `score_pattern` has verdicts instead of marks: 1 for acceptance and 0 for the rest.
        """
        pattern = self.config.get("score_pattern")
        if pattern is None:
            return float(self.accepts(verdict))
        marks = [float(mark) for mark in re.findall(pattern, verdict, re.IGNORECASE)]
        return marks[-1] if marks and marks[-1] <= 1 else None

    def prefers_second(self, comparison: str) -> bool:
        """Whether a comparison's reply finds the second of two answers better."""
        return re.search(self.config["second_pattern"], comparison.strip(), re.IGNORECASE) is not None

    def action(self, reply: str) -> str | None:
        """The action in an agent's reply: what follows the last match of `action_pattern`, in whatever marks it stands.

        A reply of one line needs no form, and where the pack has no pattern the whole reply is the action. None where
        there is no action.
        """
        text, pattern = reply.strip(), self.config.get("action_pattern")
        if pattern is not None:
            begins = [match.end() for match in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE)]
            if not begins and "\n" in text:
                return None
            text = text[begins[-1] if begins else 0 :]
        fenced = _FENCE.fullmatch(text.strip())
        return (fenced[1] if fenced else text).strip("`* \t\r\n") or None

    def choice(self, reply: str) -> int | None:
        """The number that a judge's reply chooses, None where it chooses none."""
        numbers = re.findall(self.config["choice_pattern"], reply, re.IGNORECASE)
        return int(numbers[-1]) if numbers else None

    def options(self, decoder: str) -> dict[str, Any]:
        """This pack's defaults for a decoder's options, where they differ from the paper's."""
        return dict(self.config.get("options", {}).get(decoder, {}))

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(entry["pattern"]) for entry in self.config.get("questions", ()))
