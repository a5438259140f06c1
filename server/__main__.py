"""The `longthink` command. Rule: each subcommand is another package's `main(argv)`, found by name at run time.

So the server depends on none of them, and `longthink serve` starts without importing torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

_COMMANDS = {
    "serve": ("server.serve", "serve a model through decoders, as an OpenAI-compatible API"),
    "chat": ("clients.__main__", "talk to a server"),
    "keys": ("server.admission.command", "make, list and revoke the API keys of a server"),
    "train": ("training.__main__", "train a checkpoint for the decoders"),
    "traces": ("training.traces.__main__", "find hard problems and solutions of them to train from"),
    "bench": ("benchmarks.__main__", "measure accuracy and speed of a server"),
    "envhost": ("server.envhost", "offer Gymnasium environments to servers, from their own virtual environment"),
}

_EXTRAS = {"chat": "client", "traces": "train"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        print(f"longthink {import_module('server.api.health').installed_version()}")
        return 0
    if name not in _COMMANDS:
        print(f"longthink: there is no command {name!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    module = _COMMANDS[name][0]
    try:
        command = import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            print(f"longthink: {name} is not part of this installation", file=sys.stderr)
        else:
            extra = f"pip install '.[{_EXTRAS.get(name, name)}]'"
            print(f"longthink: {name} needs {error.name}, which is not installed: {extra}", file=sys.stderr)
        return 2
    return int(command.main(rest) or 0)


def _usage() -> str:
    lines = [f"  {name:<8}{text}" for name, (_, text) in _COMMANDS.items()]
    return "\n".join(["usage: longthink <command> [options]", "", *lines, "", "longthink <command> --help says more"])


if __name__ == "__main__":
    raise SystemExit(main())
