"""`longthink serve`: load the model, listen, and stop without cutting anyone off.

Rule: on SIGTERM the server still listens, so that /ready can say no; it stops once the requests in progress are done
or the drain time is over. A second signal stops at once.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from decoders import registry
from decoders.core.errors import LongThinkError
from decoders.core.task import Model
from decoders.environments.catalogue import Catalogue
from decoders.prompts import Pack
from server import engines, logs, transport
from server.app import create_app
from server.connections import Connections
from server.settings import Settings, load

_CUT_OFF_SECONDS = 2
_ALLOCATIONS = 10_000
"""Objects between two collections of the young: a request makes hundreds that die by themselves."""
_OTHER_FILES = 512
"""File descriptors beside those of clients: engines, stores, libraries."""


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit status, 2 for a mistake in the settings."""
    try:
        settings = load(arguments)
        logs.configure(settings)
        _allow_files(settings.max_connections)
        with (
            _listen(settings.host, settings.port) as listener,
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            runner.run(_serve(settings, listener))
    except (ValueError, OSError, LongThinkError) as error:
        print(f"longthink: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def load_models(settings: Settings) -> dict[str, Model]:
    """All models of the settings, ready to take calls, each with the prompts that its checkpoint understands."""
    served: dict[str, Model] = {}
    try:
        for options in settings.serving:
            for name, engine in (await engines.open_engines(options)).items():
                if name in served:
                    await engine.aclose()
                    raise ValueError(f"two models are called {name!r}: give one another name with served_name")
                served[name] = Model(engine, Pack.load(options.pack or getattr(engine, "pack", None) or "plain"))
    except BaseException:
        for model in served.values():
            await model.engine.aclose()
        raise
    return served


async def _serve(settings: Settings, listener: socket.socket) -> None:
    began = time.monotonic()
    environments = Catalogue(settings.environments)
    served = await load_models(settings)
    connections = Connections(settings.max_requests)
    app = create_app(settings, served, connections, environments=environments)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    def announce() -> None:
        _settle()
        seconds = time.monotonic() - began
        names = ", ".join(registry())
        print(f"longthink {url} model {', '.join(served)} decoders {names} (ready in {seconds:.1f} s)", flush=True)

    level = "debug" if settings.log_level == "debug" else "warning"
    # no log_config: uvicorn's lines go out with ours
    more = {"log_level": level, "log_config": None, "timeout_graceful_shutdown": _CUT_OFF_SECONDS}
    config = transport.config(app, settings, **more)
    try:
        await _Server(config, connections, settings.drain_seconds, announce).serve(sockets=[listener])
    finally:
        await environments.aclose()


class _Server(uvicorn.Server):
    """uvicorn with a drain phase between the signal and the end of listening."""

    def __init__(
        self, config: uvicorn.Config, connections: Connections, drain_seconds: float, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._drain_seconds = drain_seconds
        self._announce = announce
        self._deadline: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins to drain. Not handed on to uvicorn, which would end the process by the signal."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._drain_seconds
            self._connections.draining = True
        else:
            self._deadline = 0.0
            self.force_exit = sig == signal.SIGINT

    async def on_tick(self, counter: int) -> bool:
        if self._deadline is not None:
            self._connections.drain()
        if self._deadline is not None and (not len(self._connections) or time.monotonic() >= self._deadline):
            self._connections.stop()
            self.should_exit = True
        return await super().on_tick(counter)


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded: a port in use should not cost a minute to find out."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(f"cannot listen on {host}:{port}: {reason}; choose another with --host and --port") from error
    return listener


def _settle() -> None:
    """Take what is there once all is loaded out of garbage collection, which would stop every request to walk it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


def _allow_files(connections: int) -> None:
    """Let the process have so many connections open, where the system leaves it to us: the usual limit is 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
