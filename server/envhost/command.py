"""The command line of `longthink envhost`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from server.envhost.gym import Gym

if TYPE_CHECKING:
    from server.envhost.host import Host

_SHUTDOWN_SECONDS = 15.0
"""More than a session takes to end a process that hangs."""
KEY = "LONGTHINK_ENVHOST_KEY"
"""The environment variable with a key that clients then need."""


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit status, 2 for a mistake in the arguments."""
    given = _parser().parse_args(arguments)
    try:
        from server.envhost.host import Host

        gym = Gym(given.ids, given.imports, dict(map(_option, given.options)))
        host = Host(gym, given.max_concurrent, os.environ.get(KEY))
        asyncio.run(_serve(host, given.host, given.port))
    except ModuleNotFoundError as error:
        print(f"longthink envhost: {error.name} is not installed here (pip install {error.name})", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"longthink envhost: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(host: Host, address: str, port: int) -> None:
    from aiohttp import web

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(host.app(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    print(f"longthink envhost ws://{address}:{runner.addresses[0][1]}", flush=True)
    await stop.wait()
    await runner.cleanup()


def _option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"--option {text}: NAME=VALUE is wanted")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "longthink envhost", description="Offer Gymnasium environments over OpenEnv's /ws."
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="Gymnasium ids; browsergym/miniwob.* takes all that match")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE", help="registers them"
    )
    parser.add_argument(
        "--option", dest="options", action="append", default=[], metavar="NAME=VALUE", help="for make()"
    )
    parser.add_argument("--max-concurrent", type=int, default=8, help="sessions side by side (default 8)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8100, help="port to listen on, 0 any (default 8100)")
    return parser
