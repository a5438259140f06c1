"""The engine over vLLM. Rule: every error of vLLM becomes one of ours here, and here only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from vllm import SamplingParams
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.exceptions import EngineDeadError

from decoders.core.engine import Chunk, Feature
from decoders.core.errors import EngineError, EngineUnavailable, InvalidRequest, LongThinkError, UnknownModel
from decoders.core.messages import Prompt, Sampling
from server.engines.embedded.checkpoint import Checkpoint
from server.engines.limits import check, room
from server.engines.tenants.adapters import Adapters
from server.engines.vllm.prompts import Renderer
from server.engines.vllm.replies import Parsers

if TYPE_CHECKING:
    from server.engines.vllm.core import Core


class VllmEngine:
    """A model, or one of its LoRA adapters, served by vLLM in this process."""

    def __init__(self, core: Core, model: str, adapter: Any = None) -> None:
        front_end = core.arguments.front_end
        self.model = model
        self.context_length: int = core.llm.model_config.max_model_len
        self._core, self._adapter = core, adapter
        self._renderer = Renderer(core.llm, front_end)
        self._parsers = Parsers(core.llm, self._renderer, front_end)
        able = {"logprobs", "prefix", "structure", "text", "token_ids"}
        able |= {name for name, has in (("images", self._renderer.images), ("tools", self._parsers.tools)) if has}
        able |= {"tool_choice"} if self._parsers.tools else set()
        self.features: frozenset[Feature] = frozenset(able)  # type: ignore[arg-type]
        checkpoint = None if core.arguments.folder is None else Checkpoint.read(core.arguments.folder)
        known = core.llm.model_config.get_diff_sampling_param() if checkpoint is None else checkpoint.defaults
        self.defaults: Mapping[str, float | int] = known
        self.pack: str | None = None if checkpoint is None else checkpoint.pack
        core.users += 1

    @property
    def llm(self) -> Any:
        """VLLM itself, for what is beyond an engine: training gives it new weights."""
        return self._core.llm

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """Chunks of all `n` completions as vLLM's steps bring them; see `Engine.generate` for the errors."""
        check(sampling)
        begun = False
        with _boundary(lambda: begun):
            request = self._parsers.request(prompt, sampling)
            rendered = await self._renderer.render(prompt)
            limit = room(self.context_length, len(rendered.ids), sampling.max_tokens)
            readers = [self._parsers.reader(request, prompt, rendered, index) for index in range(sampling.n)]
            outputs = self._core.outputs(
                rendered.input,
                [_parameters(sampling, index, limit, request) for index in range(sampling.n)],
                adapter=self._adapter,
                priority=sampling.priority if self._core.by_priority else 0,
                reasoning=self._parsers.engine_options(request, rendered),
            )
            async with aclosing(outputs):
                async for index, output in outputs:
                    chunk = readers[index].read(output)
                    if chunk is not None:
                        begun = True
                        yield chunk

    async def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt once the chat template is applied."""
        with _boundary(lambda: False):
            return len((await self._renderer.render(prompt)).ids)

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """The prompt's ids; see `Tokenizing`."""
        with _boundary(lambda: False):
            return tuple((await self._renderer.render(prompt, special=special, opened=opened)).ids)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of these ids, special tokens included."""
        return self._renderer.text(ids)

    async def ready(self) -> bool:
        """Whether vLLM's processes live."""
        return self._core.alive

    async def aclose(self) -> None:
        """Leave vLLM, which ends with the last of its engines."""
        await self._core.aclose()

    @property
    def departed(self) -> frozenset[str]:
        """Labels of tenants that were served once."""
        return frozenset() if self._source is None else self._source.departed

    def tenants(self) -> list[str]:
        """The tenants whose adapters are served over this model."""
        return [] if self._source is None else self._source.names()

    def tenant(self, name: str) -> VllmEngine:
        """The engine of one tenant. Raises `UnknownModel`."""
        self.tenant_label(name)
        return _TenantEngine(self._core, f"{self.model}@{name}", name)

    def tenant_label(self, name: str) -> str:
        """What is kept of a tenant is kept under this. Raises `UnknownModel`."""
        if self._source is None:
            raise UnknownModel(f"{self.model} has no tenants", param="model")
        return self._source.label(name)

    async def delete_tenant(self, name: str) -> None:
        """Take a tenant out for good; its calls end with `UnknownModel`, which is also raised where there is none."""
        self.tenant_label(name)
        assert self._core.tenants is not None
        await asyncio.to_thread(self._core.tenants.delete, name)
        await self._core.forget_departed()

    @property
    def _source(self) -> Adapters | None:
        """Only the base has tenants, its adapters have none."""
        return None if self._core.tenants is None or self._adapter is not None else self._core.tenants.source


class _TenantEngine(VllmEngine):
    """The adapter is looked up at each call: it may have been replaced or deleted since."""

    def __init__(self, core: Core, model: str, tenant: str) -> None:
        super().__init__(core, model)
        core.users -= 1  # it is not closed by anybody
        self._tenant = tenant

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """See `VllmEngine.generate`; raises `UnknownModel` when the tenant is gone, also in the middle."""
        assert self._core.tenants is not None
        self._adapter = self._core.tenants.request(self._tenant)
        await self._core.forget_departed()
        async with aclosing(super().generate(prompt, sampling)) as chunks:
            async for chunk in chunks:
                yield chunk


def _parameters(sampling: Sampling, index: int, limit: int, request: Any | None) -> Any:
    """What vLLM is told of completion `index`."""
    structure = _structure(sampling.structure) if request is None else request.extract_structured_outputs()
    return SamplingParams(
        max_tokens=limit,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        stop=[text for text in sampling.stop if text],
        seed=None if sampling.seed is None else sampling.seed + index,
        logprobs=sampling.logprobs,
        skip_special_tokens=request is None or request.skip_special_tokens,
        structured_outputs=structure,
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,
    )


def _structure(structure: str) -> Any | None:
    """OpenAI's response format in vLLM's terms."""
    if not structure:
        return None
    form = json.loads(structure)
    if form.get("type") == "json_object":
        return StructuredOutputsParams(json_object=True)
    if form.get("type") == "json_schema":
        return StructuredOutputsParams(json=form["json_schema"].get("schema", {}))
    raise InvalidRequest(f"response_format: there is no type {form.get('type')!r}", param="response_format")


@contextmanager
def _boundary(begun: Any) -> Iterator[None]:
    try:
        yield
    except LongThinkError:
        raise
    except (VLLMClientError, ValidationError) as error:
        raise InvalidRequest(str(error), param=getattr(error, "parameter", None)) from error
    except GracefulHTTPError as error:
        raise EngineUnavailable(f"vLLM takes no more calls: {error}") from error
    except EngineDeadError as error:
        raise (EngineError if begun() else EngineUnavailable)("vLLM's engine process died; its log says why") from error
    except Exception as error:
        raise EngineError(f"vLLM: {type(error).__name__}: {error}") from error
