"""What the requests of every dialect have in common: how they are read, which model and decoder, how it is sampled.

Rule: a request model is the API's documentation, and a field that is not in it, misspelt or from a newer API, is
refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StrictBool, ValidationError

from decoders.core.errors import InvalidRequest
from server.api import errors
from server.api.fields import UNSUPPORTED, DecoderChoice, DecoderField, Wire, refuse_unsupported

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Flag = StrictBool | None


class Request(Wire):
    """A request's body; `unsupported` lists the fields that are understood only at values that ask for nothing."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = UNSUPPORTED

    @classmethod
    def parse(cls, body: Any) -> Self:
        """A request from its decoded JSON. Raises `InvalidRequest` naming the field."""
        if not isinstance(body, dict):
            raise InvalidRequest("the body is a JSON object", code="invalid_json")
        body = dict(body)
        refuse_unsupported(body, cls.unsupported)
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise errors.invalid(error, cls.model_fields) from error


class Sampled(Request):
    """A request for tokens: OpenAI's sampling fields, those of vLLM in common use, and `decoder`."""

    model: str
    """A served model, or `model:decoder`."""
    decoder: DecoderField = Field(default_factory=DecoderChoice)
    """The decoder's name, or an object of its name and its options; see /v1/decoders."""
    stream: Flag = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=1_000_000)
    """0 or -1 to consider all tokens."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: Int64 | None = None
    """The same seed gives the same answer; a random one is taken and reported without it."""
    deadline_seconds: float | None = Field(default=None, gt=0, le=86_400, allow_inf_nan=False)
    """Ours: after this time the best answer so far is the reply."""
    priority: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    """A smaller one is served earlier by engines that know priorities."""

    def sampling(self, **more: Any) -> dict[str, Any]:
        """The sampling fields that the client has set, in the service's terms."""
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0 if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "priority": self.priority,
            **more,
        }
        return {name: value for name, value in values.items() if value is not None}
