"""The peers in virtual environments of their own. Rule: only one that was made to its end, as asked for now, counts.

its_hub is installed with the extra that its server needs. optillm's 37 requirements include torch, transformers, spacy,
gradio and selenium, gigabytes that serve its plugins and its local inference. It is installed without them, with what
`optillm.server` imports: its proxy and its built-in approaches are complete and are the same code, plugins that miss
something are skipped when it starts, and it starts faster and takes less memory than in full.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PIP_CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "optillm": (
        ("--no-deps", "optillm==0.4.0"),
        (
            *("flask", "openai", "cerebras_cloud_sdk", "httpx", "aiohttp", "requests", "numpy", "networkx", "pyyaml"),
            *("sympy", "z3-solver<=4.15.4.0", "math-verify"),
        ),
    ),
    "its_hub": (("its_hub[iaas]==1.2.0",),),
}
"""For each peer what `pip install` is called with, in turn."""

_DONE = "installed.txt"


def installed(peer: str, folder: Path) -> bool:
    """Whether its environment is there."""
    note = folder / peer / _DONE
    return note.is_file() and note.read_text() == _wanted(peer)


def install(peer: str, folder: Path) -> None:
    """Make its environment, if it is not there. `OSError` with pip's last words if it cannot be made."""
    if installed(peer, folder):
        return
    place = folder / peer
    print(f"installing {peer} into {place}", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")  # in whichever repository that is
    _run(sys.executable, "-m", "venv", "--clear", str(place))
    for arguments in PIP_CALLS[peer]:
        _run(str(program(peer, folder, "python")), "-m", "pip", "install", "--quiet", *arguments)
    (place / _DONE).write_text(_wanted(peer))


def program(peer: str, folder: Path, name: str) -> Path:
    """A program of its environment."""
    return (folder / peer / "bin" / name).absolute()


def versions(peer: str, folder: Path) -> list[str]:
    """What it runs on: `package==version` of all of its environment."""
    return _run(str(program(peer, folder, "python")), "-m", "pip", "freeze").split("\n")


def _wanted(peer: str) -> str:
    return "".join(f"pip install {' '.join(arguments)}\n" for arguments in PIP_CALLS[peer])


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)} failed:\n{done.stderr.strip()[-1500:]}")
    return done.stdout.strip()
