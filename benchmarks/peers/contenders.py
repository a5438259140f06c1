"""What is compared, and the servers that do it. Rule: contenders of one kind ask the upstream equally often.

- *Pass-through*: longthink's decoder `direct`, optillm's approach `none`, its_hub with a budget of one sample.
- *Self-consistency of 5*: five samples and a vote. optillm asks for them one after the other.
- *Best of 3*: three samples and verdicts; its_hub's server does not offer it. optillm asks for three choices in one
  call and for a rating of each; longthink samples three times and verifies each *different* answer once, and the fake
  upstream always says the same: four calls both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from benchmarks.peers.installation import program
from benchmarks.servers import HOST, Server, free_port, quiet_environment, started

UPSTREAM = "upstream"
MODEL = "fake"
_PASS, _VOTE, _BEST = "pass-through", "self-consistency of 5", "best of 3"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server with one way to ask it."""

    server: str
    kind: str
    fields: Mapping[str, JsonValue] = field(default_factory=dict)
    """Of the request, beside model and messages."""
    setting: str = ""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.server} {self.setting}".strip() if self.server != UPSTREAM else "the upstream alone"


CONTENDERS = (
    Contender(UPSTREAM, _PASS),
    Contender("longthink", _PASS),
    Contender("optillm", _PASS, {}, "none"),  # its field `optillm_approach` would be passed through, and refused
    Contender("its_hub", _PASS, {"budget": 1}, "budget 1"),
    Contender("longthink", _VOTE, {"decoder": {"name": "self_consistency", "n": 5}}, "self_consistency"),
    Contender("optillm", _VOTE, {"optillm_approach": "self_consistency"}, "self_consistency"),
    Contender("its_hub", _VOTE, {"budget": 5}, "budget 5"),
    Contender("longthink", _BEST, {"decoder": {"name": "best_of_n", "n": 3}}, "best_of_n"),
    Contender("optillm", _BEST, {"optillm_approach": "bon"}, "bon"),
)


@contextmanager
def serving(peers: Sequence[str], environments: Path, delay: float, folder: Path) -> Iterator[dict[str, Server]]:
    """The upstream, longthink and the peers by name; logs and whatever else they write go into `folder`."""
    with ExitStack() as stack:

        def start(name: str, command: Sequence[str], health: str, place: Path | None = None) -> Server:
            port = free_port()
            environment = quiet_environment(OPENAI_API_KEY="none", NO_PROXY=HOST)
            log = folder / f"{name}.log"
            whole = [*command, "--port", str(port)]
            return stack.enter_context(
                started(whole, port=port, health=health, log=log, environment=environment, folder=place)
            )

        fake = [sys.executable, "-m", "benchmarks", "fake-upstream", "--model", MODEL, "--delay", str(delay)]
        found = {UPSTREAM: start(UPSTREAM, fake, "/health")}
        url = found[UPSTREAM].url
        ours = [sys.executable, "-m", "server", "serve", "--upstream", url]
        found["longthink"] = start("longthink", ours, "/ready")
        if "optillm" in peers:
            command = [str(program("optillm", environments, "optillm")), "--base-url", url]
            # the default approach, auto, is refused by its own option
            found["optillm"] = start("optillm", [*command, "--approach", "none", "--log", "error"], "/health", folder)
        if "its_hub" in peers:
            command = [str(program("its_hub", environments, "its-iaas")), "--log-level", "ERROR"]
            found["its_hub"] = start("its_hub", command, "/v1/models", folder)
            _configure(found["its_hub"], url)
        yield found


def _configure(its_hub: Server, upstream: str) -> None:
    """It answers nothing before it is told its upstream, a key and what a vote is on; here on the whole answer."""
    wanted: dict[str, JsonValue] = {
        "endpoint": upstream,
        "api_key": "none",
        "model": MODEL,
        "alg": "self-consistency",
        "regex_patterns": ["(.*)"],
        "budget": 1,
    }
    status, said = its_hub.ask("POST", "/configure", wanted)
    if status != 200:
        raise OSError(f"its_hub refused its configuration: {said.decode(errors='replace')[:300]}")
