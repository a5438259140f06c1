"""`python -m decoders.environments.site`: serves every site to browsers until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from decoders.environments.site.web import SiteServer


def main(argv: Sequence[str] | None = None) -> int:
    """Listen, say where, and stop at SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m decoders.environments.site", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0: any that is free (default: 8090)")
    options = parser.parse_args(argv)
    try:
        server = SiteServer(options.host, options.port)
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop that this handler interrupts, so it needs a thread of its own
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{server.url}/2-find-7/0", flush=True)
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
