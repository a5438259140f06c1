"""Tools of the type `mcp` in /v1/responses: the server calls them itself, within one response.

Rule: a request reaches only servers that the operator has configured, with the operator's credentials, and never has
any approved: it must say `require_approval: "never"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest
from server.api.fields import NothingField, Wire
from server.environments import EnvironmentChoice


def _names(value: Any) -> Any:
    """A filter object's names, where it has nothing else."""
    if isinstance(value, dict) and set(value) == {"tool_names"}:
        return value["tool_names"]
    return value


def _never(value: Any) -> Any:
    if value != "never":
        raise PydanticCustomError("mcp", 'this server asks for no approval: require_approval must be "never"')
    return value


class McpIn(Wire):
    """A server of tools that this server calls by itself."""

    type: Literal["mcp"]
    server_label: str = Field(min_length=1, max_length=64)
    """What the items of the response call it; without server_url, the name of one of this server's environments."""
    server_url: str | None = None
    """The URL of an MCP server that the operator of this server has configured."""
    server_description: str | None = None
    """Accepted and not used."""
    allowed_tools: Annotated[
        list[str] | None,
        BeforeValidator(_names),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}},
                    {
                        "type": "object",
                        "properties": {"tool_names": {"type": "array", "items": {"type": "string"}}},
                        "required": ["tool_names"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    """The tools that the model may use; without it all."""
    require_approval: Annotated[str, BeforeValidator(_never), WithJsonSchema({"const": "never"})]
    headers: NothingField = None
    """The operator's are used, as for authorization."""
    authorization: NothingField = None
    connector_id: NothingField = None

    def choice(self) -> EnvironmentChoice:
        """The environment that it stands for."""
        tools = None if self.allowed_tools is None else tuple(self.allowed_tools)
        return EnvironmentChoice(self.server_label, toolbox=True, url=self.server_url or "", tools=tools)


def chosen(servers: Sequence[McpIn], others: bool, environment: EnvironmentChoice | None) -> EnvironmentChoice | None:
    """What the agent acts in. Raises `InvalidRequest` for more than one thing."""
    if not servers:
        return environment
    if len(servers) > 1 or others or environment is not None:
        message = "one MCP server at most, and neither functions nor an environment beside it"
        raise InvalidRequest(message, param="tools", code="unsupported_parameter")
    return servers[0].choice()


def listing(label: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """The item that tells which tools there are."""
    tools = [
        {
            "name": tool["function"]["name"],
            "description": tool["function"].get("description"),
            "input_schema": tool["function"].get("parameters") or {"type": "object"},
            "annotations": None,
        }
        for tool in orjson.loads(about.get("tools") or "[]")
    ]
    return {"type": "mcp_list_tools", "server_label": label, "tools": tools, "error": None}


def calling(label: str, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """The item of a call that was made; None for what was none."""
    try:
        call = orjson.loads(about["action"])
    except orjson.JSONDecodeError:
        return None
    failed, said = about.get("error") is True, about.get("observation", "")
    content = [{"type": "text", "text": said}]
    return {
        "type": "mcp_call",
        "server_label": label,
        "name": call["name"],
        "arguments": orjson.dumps(call["arguments"]).decode(),
        "approval_request_id": None,
        "output": None if failed else said,
        "error": {"type": "mcp_tool_execution_error", "content": content} if failed else None,
    }
