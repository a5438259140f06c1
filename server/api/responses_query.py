"""The query parameters of stored responses. Rule: they are checked like the fields of a body, and named like them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, ValidationError
from starlette.datastructures import QueryParams

from decoders.core.errors import InvalidRequest
from server.api import errors
from server.api.fields import Wire
from server.api.responses_items import Item

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _boolean(value: Any) -> Any:
    return _BOOLEANS.get(value, value) if isinstance(value, str) else value


def _integer(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20 else value


Boolean = Annotated[bool, BeforeValidator(_boolean)]
Integer = Annotated[int, BeforeValidator(_integer)]


class Query(Wire):
    """Query parameters; those that repeat are arrays, in any of the ways that clients write arrays."""

    include: list[str] | None = None
    """Accepted: what there is, is included."""

    @classmethod
    def read(cls, given: QueryParams) -> Self:
        """The parameters of a request. Raises `InvalidRequest` naming the one that is wrong."""
        values: dict[str, Any] = {}
        for name, value in given.multi_items():
            if name.partition("[")[0] == "include":
                values.setdefault("include", []).append(value)
            else:
                values[name] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise errors.invalid(error, cls.model_fields) from error


class FollowQuery(Query):
    """How to see a stored response."""

    stream: Boolean = False
    """Its events instead of its object; of background responses only."""
    starting_after: Annotated[Integer, Field(ge=0)] = -1
    """Only events with a greater sequence_number."""
    include_obfuscation: Boolean = False
    """Accepted and not used."""


class ListQuery(Query):
    """Which part of a list."""

    limit: Annotated[Integer, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    """The id of the last item seen."""

    def page(self, found: Sequence[Item]) -> bytes:
        """A part of these items as OpenAI's list."""
        ordered = list(found) if self.order == "asc" else list(reversed(found))
        ids = [item["id"] for item in ordered]
        if self.after is not None and self.after not in ids:
            raise InvalidRequest(f"there is no item {self.after[:80]!r} in this list", param="after")
        begin = 0 if self.after is None else ids.index(self.after) + 1
        shown = ordered[begin : begin + self.limit]
        return orjson.dumps(
            {
                "object": "list",
                "data": shown,
                "first_id": shown[0]["id"] if shown else "",
                "last_id": shown[-1]["id"] if shown else "",
                "has_more": begin + self.limit < len(ordered),
            }
        )
