"""What an agent's reply wants done, read from its text or its tool calls. Rule: what was cut is never carried out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from decoders.core.messages import ToolCall
from decoders.core.trace import Completion
from decoders.core.transcript import Transcript, words


@dataclass(frozen=True, slots=True)
class Deed:
    """One action: `text` is what the environment is told, `wrong` why it cannot be told that.

    A `final` one is an answer, whether or not the environment knows of answers.
    """

    text: str
    call: ToolCall | None = None
    final: bool = False
    wrong: str = ""


def deeds(reply: Completion, transcript: Transcript) -> list[Deed]:
    """The actions of a reply, in order; at least one."""
    cut, run = reply.finish == "length", transcript.run
    tools = bool(transcript.start.tools)
    if tools and reply.tool_calls:
        return [_called(call, transcript, cut=cut) for call in reply.tool_calls]
    text = reply.answer.strip()
    action = text if tools else run.pack().action(reply.answer)
    if action and not cut:
        return [Deed(action, final=tools)]
    return [Deed(text, wrong=words(run, "no_action", tools=tools, cut=cut, call=""))]


def _called(call: ToolCall, transcript: Transcript, *, cut: bool) -> Deed:
    """A call as an action: a JSON object of name and arguments."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = None
    if cut or not isinstance(arguments, dict):
        wrong = words(transcript.run, "no_action", tools=True, cut=cut, call=call.name)
        return Deed(f"{call.name}({call.arguments})", call, wrong=wrong)
    return Deed(json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False), call)
