"""The embedded engine: a Hugging Face checkpoint served in this process. Rule: the event loop never waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from collections.abc import Sequence as Ids
from functools import partial
from pathlib import Path

from decoders.core.engine import Chunk, Feature
from decoders.core.errors import EngineError, EngineUnavailable, InvalidRequest, UnknownModel
from decoders.core.messages import Prompt, Sampling
from server.engines.embedded.backend import Kind, load
from server.engines.embedded.checkpoint import Checkpoint
from server.engines.embedded.inline import Inline
from server.engines.embedded.models import Tenants
from server.engines.embedded.scheduler import Scheduler
from server.engines.embedded.sequence import Sequence, Stream
from server.engines.embedded.tenancy import TenantEngine
from server.engines.embedded.tokenizer import ChatTokenizer, calls_tools
from server.engines.embedded.turns import Arrivals, Turns
from server.engines.limits import check, room
from server.engines.tenants.source import open_tenants
from server.engines.tool_calls import ToolCallReader

_LOOK_SECONDS = 1.0


class EmbeddedEngine:
    """Continuous batching with prefix reuse over onnxruntime, or over torch for what the exporter does not know.

    `slots` is how many sequences are kept, running ones and the retained beginnings of later prompts together; large
    models get fewer where memory is short. `ignore_eos` generates to `max_tokens`, for measurements.

    `tenants` is a folder (`server/engines/tenants`) whose members are served beside the base: `tenant_bytes` of their
    models are kept ready, and while several have calls each has the engine for `tenant_turn` steps; 0 takes calls in
    the order of arrival, for measurements.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str | None = None,
        backend: Kind = "auto",
        device: str = "auto",
        slots: int = 64,
        context_length: int | None = None,
        threads: int | None = None,
        prefix_reuse: bool = True,
        ignore_eos: bool = False,
        tenants: Path | None = None,
        tenant_bytes: int = 1 << 30,
        tenant_turn: int = 64,
    ) -> None:
        self._checkpoint = Checkpoint.read(folder)
        self.model = model or folder.name
        self.fingerprint = self._checkpoint.fingerprint
        self.context_length = self._checkpoint.context(context_length)
        self.features: frozenset[Feature] = frozenset({"logprobs", "prefix", "text", "token_ids"})
        if calls_tools(folder):
            self.features |= {"tools"}
        self.defaults: Mapping[str, float | int] = self._checkpoint.defaults
        self.pack: str | None = self._checkpoint.pack
        self.backend: str | None = None
        """Which backend was loaded, "onnx" or "torch"."""
        self._eos: frozenset[int] = frozenset() if ignore_eos else self._checkpoint.eos
        self._choice: tuple[Kind, str, int, int | None] = (backend, device, slots, threads)
        self._reuse = prefix_reuse
        self._words: ChatTokenizer | None = None
        self._scheduler: Scheduler | Inline | None = None
        self._tenants = None if tenants is None else Tenants(open_tenants(tenants), tenant_bytes)
        self._turns = partial(Turns, tenant_turn) if tenant_turn else Arrivals
        self._watching: asyncio.Task[None] | None = None
        self._loading = threading.Lock()
        self._closed = False

    @property
    def running(self) -> int:
        """Completions that hold a slot now."""
        return 0 if self._scheduler is None else self._scheduler.running

    @property
    def waiting(self) -> int:
        """Completions that wait for a slot."""
        return 0 if self._scheduler is None else self._scheduler.waiting

    async def start(self) -> None:
        """Load weights and tokenizer in a thread; a call does it too when it is the first."""
        await asyncio.to_thread(self._load)
        if self._tenants is not None and self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="tenants")

    async def generate(self, prompt: Prompt, sampling: Sampling, tenant: str = "") -> AsyncGenerator[Chunk, None]:
        """Chunks of all `n` completions as they are drawn; see `Engine.generate` for the errors."""
        words, scheduler = await self._ready()
        if tenant:
            await self._look()
            self.tenant_label(tenant)
        check(sampling)
        self._check_features(prompt, sampling)
        encoded = words.encode(prompt)
        limit = room(self.context_length, len(encoded.ids), sampling.max_tokens)
        stream = Stream()
        sequences = [
            Sequence(encoded, sampling, index, limit, self._eos, words, stream, tenant) for index in range(sampling.n)
        ]
        readers = [ToolCallReader(prompt, sampling, index) for index in range(sampling.n)] if prompt.tools else []
        scheduler.submit(sequences)
        unfinished = sampling.n
        try:
            while unfinished:
                chunk = await stream.next()
                unfinished -= chunk.finish is not None
                yield readers[chunk.index].read(chunk) if readers else chunk
        finally:
            if unfinished:
                scheduler.abort(sequences)

    async def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt once the chat template is applied."""
        words, _ = await self._ready()
        return len(words.encode(prompt).ids)

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """The prompt's ids; see `Tokenizing`."""
        words, _ = await self._ready()
        return words.encode(prompt, special=special, opened=opened).ids

    async def detokenize(self, ids: Ids[int]) -> str:
        """The text of these ids, special tokens included."""
        words, _ = await self._ready()
        return words.decode(words.checked(ids, param="tokens"), special=True)

    @property
    def version(self) -> str:
        """Changes with every tenant that comes or goes."""
        return "" if self._tenants is None else self._tenants.source.version

    @property
    def departed(self) -> frozenset[str]:
        """Labels of tenants that were served once."""
        return frozenset() if self._tenants is None else self._tenants.source.departed

    def tenants(self) -> list[str]:
        """The tenants that are served."""
        return [] if self._tenants is None else self._tenants.source.names()

    def tenant(self, name: str) -> TenantEngine:
        """The engine of one tenant. Raises `UnknownModel`."""
        self.tenant_label(name)
        return TenantEngine(self, name)

    def tenant_label(self, name: str) -> str:
        """What is kept of a tenant is kept under this; see `Values`. Raises `UnknownModel`."""
        if self._tenants is None:
            raise UnknownModel(f"{self.model} has no tenants", param="model")
        return self._tenants.source.label(name)

    async def delete_tenant(self, name: str) -> None:
        """Take a tenant out for good; when this returns nothing that was made with it is used any more.

        Its calls end with `UnknownModel`, those of other tenants go on with their new weights. Raises `UnknownModel`,
        or `NotKept` where it cannot be taken out here.
        """
        if self._tenants is None:
            raise UnknownModel(f"{self.model} has no tenants", param="model")
        await asyncio.to_thread(self._tenants.source.delete, name)
        await self._renew()

    async def ready(self) -> bool:
        """Whether the weights are loaded and the engine's thread lives."""
        return self._scheduler is not None and self._scheduler.error is None

    async def aclose(self) -> None:
        """End the engine's thread; what runs gets `EngineUnavailable`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.to_thread(self._close)

    async def _watch(self) -> None:
        """Notice what other processes do to the folder, for calls that are under way."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        if self._tenants is not None and await asyncio.to_thread(self._tenants.source.refresh):
            await self._renew()

    async def _renew(self) -> None:
        scheduler = self._scheduler
        if isinstance(scheduler, Scheduler):
            present = frozenset(self.tenants())
            await asyncio.wrap_future(scheduler.do(lambda: scheduler.renew(present)))

    async def _ready(self) -> tuple[ChatTokenizer, Scheduler | Inline]:
        if self._words is None or self._scheduler is None:
            await self.start()
        assert self._words is not None
        assert self._scheduler is not None
        if self._scheduler.error is not None:
            raise EngineUnavailable(str(self._scheduler.error))
        return self._words, self._scheduler

    def _check_features(self, prompt: Prompt, sampling: Sampling) -> None:
        """Raises `InvalidRequest` naming what this engine cannot do with this checkpoint."""
        wanted = {"tools": prompt.tools, "tool_choice": prompt.tool_choice, "structure": sampling.structure}
        for name, value in wanted.items():
            if value and name not in self.features:
                message = f"the model {self.model} does not support {name}"
                raise InvalidRequest(message, param=name, code="unsupported_parameter")

    def _load(self) -> None:
        with self._loading:
            if self._closed:
                raise EngineUnavailable(f"{self.model} is closed")
            if self._scheduler is not None:
                return
            kind, device, slots, threads = self._choice
            words = ChatTokenizer(self._checkpoint.folder, self._checkpoint.config.get("vocab_size"))
            try:
                backend, self.backend = load(
                    self._checkpoint,
                    kind,
                    device,
                    slots=slots,
                    context=self.context_length,
                    threads=threads,
                    tenants=self._tenants,
                )
            except EngineError:
                raise
            except Exception as error:
                raise EngineUnavailable(f"{self._checkpoint.folder} cannot be loaded: {error}") from error
            self._words = words
            self._scheduler = Scheduler(backend, words, reuse=self._reuse, turns=self._turns())

    def _close(self) -> None:
        with self._loading:
            self._closed = True
            if self._scheduler is not None:
                self._scheduler.close()
