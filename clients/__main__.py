"""`longthink chat`: a conversation in the terminal, or one question for a script.

Rule: standard output has answers, standard error what is said about them; the status is 0 only where there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from openai import OpenAIError
from rich.console import Console

from clients.client import LongThink
from clients.run import Run
from clients.terminal import choice
from clients.terminal.choice import Mistyped
from clients.terminal.commands import Commands, load
from clients.terminal.prompt import Prompt
from clients.terminal.session import Session, explain
from clients.terminal.showing import replay, show

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    with LongThink(base_url=arguments.url, api_key=arguments.key, max_retries=1) as client:
        try:
            session = _session(arguments, client)
            if arguments.replay:
                replay(session.console, load(arguments.replay), arguments.speed)
                return 0
            if arguments.message is None and sys.stdin.isatty():
                return _converse(session)
            question = sys.stdin.read().strip() if arguments.message in (None, "-") else arguments.message
            return _once(session, question, as_json=arguments.json, trace=arguments.trace)
        except OpenAIError as error:
            say(explain(error, client))
        except Mistyped as error:
            say(str(error))
            return 2
        except KeyboardInterrupt:
            return INTERRUPTED
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longthink chat", description="Talk to a longthink server, or any OpenAI one."
    )
    add = parser.add_argument
    add("-m", "--message", metavar="TEXT", help="ask this and print the answer; - reads it from standard input")
    add("-d", "--decoder", nargs="+", metavar=("NAME", "OPTION=VALUE"), help="such as rc turns=8")
    add("-b", "--budget", metavar="TOKENS", help="a number of tokens, such as 4000 or 4k, or a share such as high")
    add("--model", metavar="NAME", help="the first one that the server lists by default")
    add("--seed", type=int, metavar="N", help="makes a run repeatable")
    add("--fresh", action="store_true", help="every question begins a conversation of its own")
    add("--json", action="store_true", help="with -m: print an object with text, finish, usage and what the run did")
    add("--trace", metavar="FILE", help="with -m: save the run's trace")
    add("--replay", metavar="FILE", help="show a saved trace as it unfolded; no server is needed")
    add("--speed", type=float, default=1.0, metavar="FACTOR", help="of the replay")
    add("--url", metavar="URL", help="of the API; LONGTHINK_BASE_URL or http://127.0.0.1:8000/v1 by default")
    add("--key", metavar="KEY", help="the API key; better in LONGTHINK_API_KEY")
    return parser


def _session(arguments: argparse.Namespace, client: LongThink) -> Session:
    fields = {} if arguments.seed is None else {"seed": arguments.seed}
    session = Session(client, Console(highlight=False), **fields)
    session.model, session.fresh = arguments.model, arguments.fresh
    if arguments.budget:
        session.budget = choice.budget(arguments.budget)
    if arguments.decoder:
        session.decoder = choice.decoder(arguments.decoder, session.decoders)
    if arguments.speed <= 0:
        raise Mistyped("--speed is a number above 0")
    return session


def _once(session: Session, question: str, *, as_json: bool, trace: str | None) -> int:
    if not question:
        raise Mistyped("there is no question: give one with -m, or on standard input")
    with session.run(question) as run:
        if as_json:
            print(json.dumps(_told(run)))
        elif sys.stdout.isatty():
            show(session.console, run)
        elif run.text:
            print(run.text)
        if trace:
            run.trace.save(trace)
        if not run.text:
            say("there is no answer: " + ("the run was cut short" if run.finish == "length" else "the reply is empty"))
        return 0 if run.text else 1


def _told(run: Run) -> dict[str, Any]:
    usage, text = run.usage.model_dump(exclude_none=True), run.text
    return {"id": run.id, "text": text, "finish": run.finish, "usage": usage, "longthink": run.trace.longthink}


def say(message: str) -> None:
    """Tell the user what is wrong."""
    Console(stderr=True, highlight=False).print(message, style="red", markup=False, soft_wrap=True)


def _converse(session: Session) -> int:
    commands = Commands(session, lambda text: prompt.edit(text))
    prompt = Prompt([*commands.names(), *(entry["id"] for entry in session.decoders)])
    commands.do_status()
    session.console.print("/help lists what can be changed; Ctrl-C stops a run, Ctrl-D leaves", style="dim")
    try:
        while not commands.quit:
            try:
                line = prompt.read().strip()
                if line.startswith("/"):
                    commands(line)
                elif line:
                    session.ask(line)
            except EOFError:
                break
            except KeyboardInterrupt:
                session.console.print()
            except Mistyped as error:
                say(str(error))
            except OpenAIError as error:
                say(explain(error, session.client))
    finally:
        prompt.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
