"""`longthink envhost`: offers Gymnasium environments over OpenEnv's `/ws`, from a virtual environment of their own.

Benchmarks pin what the server cannot have, so they stay outside and are reached by a URL. Rule: this folder needs
nothing else of longthink, only aiohttp and Gymnasium; one websocket is one environment, in a process of its own.
"""

from server.envhost.command import main

__all__ = ["main"]
