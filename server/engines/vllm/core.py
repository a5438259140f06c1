"""One vLLM engine, which the model and its adapters share. Rule: every call is waited for by one event, and a call that
is left is aborted before its generator is closed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM

from decoders.core.engine import Engine
from decoders.core.errors import EngineUnavailable
from server.engines.vllm.arguments import Arguments
from server.engines.vllm.engine import VllmEngine
from server.engines.vllm.tenants import LoraTenants


class Core:
    """AsyncLLM with its requests; it ends when the last of its engines is closed."""

    def __init__(self, llm: Any, arguments: Arguments) -> None:
        self.llm = llm
        self.arguments = arguments
        self.users = 0
        self.by_priority: bool = llm.scheduler_config.policy == "priority"
        self.tenants: LoraTenants | None = None
        self._closed = False
        self._calls: set[asyncio.Event] = set()
        self._ended: set[int] = set()
        self._numbers = itertools.count()

    @property
    def alive(self) -> bool:
        """Whether calls are answered."""
        return not self._closed and not self.llm.errored

    async def outputs(
        self,
        prompt: Mapping[str, Any],
        draws: Sequence[Any],
        *,
        adapter: Any,
        priority: int,
        reasoning: Mapping[str, Any],
    ) -> AsyncGenerator[tuple[int, Any], None]:
        """The outputs of one prompt drawn with each of `draws`, with the index of the draw."""
        if self._closed:
            raise EngineUnavailable("vLLM is closed")
        # Requests of their own instead of vLLM's `n`, which tells the cached tokens of one completion only.
        names = [f"{next(self._numbers)}" for _ in draws]
        arrived = asyncio.Event()
        self._calls.add(arrived)
        waiting: dict[int, Any] = {}
        complete = False
        try:
            for index, (name, draw) in enumerate(zip(names, draws, strict=True)):
                collector = await self.llm.add_request(
                    name, dict(prompt), draw, lora_request=adapter, priority=priority, **reasoning
                )
                # All of them wake the reader through one event: once a step, not once a completion.
                collector.ready = arrived
                waiting[index] = collector
            async with aclosing(self._drain(waiting, arrived, adapter)) as drained:
                async for index, output in drained:
                    yield index, output
            complete = True
        finally:
            self._calls.discard(arrived)
            if not complete and self.alive:
                await self.llm.abort(names)

    async def forget_departed(self) -> None:
        """End the calls of tenants that are gone, and have vLLM forget their adapters and all that it has computed."""
        if self.tenants is None or not self.tenants.gone:
            return
        gone, self.tenants.gone = self.tenants.gone, {}
        self._ended |= {request.lora_int_id for request in gone.values()}
        for arrived in self._calls:
            arrived.set()
        for request in gone.values():
            await self.llm.remove_lora(request.lora_int_id)
        await self.llm.reset_prefix_cache()

    async def aclose(self) -> None:
        """Give up one use; the last one ends vLLM, and what runs gets `EngineUnavailable`."""
        self.users -= 1
        if self.users or self._closed:
            return
        self._closed = True
        for arrived in self._calls:
            arrived.set()
        llm, self.llm = self.llm, None
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # it would report the end of the process as a failure
        await asyncio.to_thread(llm.shutdown)

    async def _drain(
        self, waiting: dict[int, Any], arrived: asyncio.Event, adapter: Any
    ) -> AsyncGenerator[tuple[int, Any], None]:
        while waiting:
            # Scanned without a pause, so that whatever comes later sets the event again.
            found = [(i, output) for i, collector in waiting.items() if (output := collector.get_nowait()) is not None]
            for index, output in found:
                if output.finished:
                    del waiting[index]
                yield index, output
            if not found:
                await arrived.wait()
                arrived.clear()
            if self._closed:
                raise EngineUnavailable("vLLM was closed")
            if adapter is not None and adapter.lora_int_id in self._ended:
                raise LoraTenants.ended(adapter.lora_name.partition("/")[0])


async def load(arguments: Arguments, model: str) -> dict[str, Engine]:
    """Start vLLM, which takes the event loop for itself until it is ready, and load the adapters."""
    try:
        core = Core(AsyncLLM.from_engine_args(arguments.engine), arguments)
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise EngineUnavailable(f"vLLM cannot load {arguments.engine.model}: {error}") from error
    try:
        engines = {model: VllmEngine(core, model)}
        for number, (name, path) in enumerate(arguments.adapters.items(), 1):
            if name in engines:
                raise ValueError(f"--vllm.lora-modules: the name {name!r} is taken")
            adapter = LoRARequest(name, number, path)
            try:
                await core.llm.add_lora(adapter)
            except Exception as error:
                raise ValueError(f"--vllm.lora-modules: {name} cannot be loaded from {path}: {error}") from error
            engines[name] = VllmEngine(core, name, adapter)
        if arguments.tenants is not None:
            core.tenants = LoraTenants(arguments.tenants, LoRARequest, len(arguments.adapters) + 1)
    except BaseException:
        core.llm.shutdown()
        raise
    return dict(engines)
