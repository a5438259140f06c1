"""The upstream engine: one model, on any number of OpenAI-compatible servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from decoders.core.engine import Chunk, Feature
from decoders.core.errors import EngineUnavailable
from decoders.core.messages import Prompt, Sampling
from server.engines.embedded.tokenizer import ChatTokenizer
from server.engines.upstream.attempts import attempts
from server.engines.upstream.body import Call
from server.engines.upstream.cluster import Cluster
from server.engines.upstream.dialects import DIALECTS
from server.engines.upstream.failures import Setback
from server.engines.upstream.host import Host
from server.engines.upstream.merging import merge
from server.engines.upstream.tokens import detokenize, tokenize
from server.model_options import UpstreamOptions


class UpstreamEngine:
    """`name` is the model's name at the upstream, `model` the one it is served under.

    With a tokenizer chats are rendered here, so that a reply can be continued wherever there are completions.
    """

    def __init__(
        self, cluster: Cluster, name: str, *, model: str, options: UpstreamOptions, words: ChatTokenizer | None = None
    ) -> None:
        self.model = model
        self.pool = cluster.pool
        self.context_length = 0
        self.features: frozenset[Feature] = frozenset()
        self._cluster, self._name, self._options, self._words = cluster, name, options, words
        self._closed = False
        cluster.join(self)

    def refresh(self) -> None:
        """What all hosts can do that are known to have the model."""
        hosts = [host for host in self.pool.hosts if self._name in (host.models or ())]
        lengths = [length for host in hosts if (length := (host.models or {}).get(self._name))]
        self.context_length = self._options.context_length or min(lengths, default=131_072)
        dialects = [host.known for host in hosts] or [DIALECTS["openai"]]
        self.features = frozenset.intersection(*(dialect.features for dialect in dialects))
        if self._words is not None and "text" in self.features:
            self.features |= {"prefix"}
        self._counts_each = all(dialect.several for dialect in dialects)
        self._ids_in = all(dialect.ids_in for dialect in dialects)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """Chunks of all `n` completions as they arrive; see `Engine.generate` for the errors."""
        if self._closed:
            raise EngineUnavailable(f"{self.model} is closed")
        call = self._call(prompt, sampling)
        if sampling.n == 1 or self._counts_each:
            source = attempts(self.pool, replace(call, n=sampling.n), 0, self._options)
        else:
            source = merge([self._single(call, index) for index in range(sampling.n)])
        async with aclosing(source):
            async for chunks in source:
                for chunk in chunks:
                    yield chunk

    async def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt, by the tokenizer here or that of a host. Raises `InvalidRequest` without both."""
        if prompt.token_ids is not None:
            return len(prompt.token_ids)
        return len(await self.tokenize(prompt))

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """The prompt's ids; see `Tokenizing`."""
        if self._words is not None:
            return self._words.encode(prompt, special=special, opened=opened).ids
        try:
            return await tokenize(self._hosts(), self._name, prompt, special=special, opened=opened)
        except Setback as error:
            raise EngineUnavailable(f"{self.model}: {error}") from error

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of these ids, special tokens included."""
        if self._words is not None:
            return self._words.decode(self._words.checked(ids, param="tokens"), special=True)
        try:
            return await detokenize(self._hosts(), self._name, ids)
        except Setback as error:
            raise EngineUnavailable(f"{self.model}: {error}") from error

    async def ready(self) -> bool:
        """Whether a host takes calls."""
        return not self._closed and self.pool.well(self._name)

    async def aclose(self) -> None:
        """Take no further calls; the last engine of a cluster closes its connections."""
        if not self._closed:
            self._closed = True
            await self._cluster.leave(self)

    def _hosts(self) -> list[Host]:
        if not (hosts := self.pool.serving(self._name)):
            raise EngineUnavailable(f"{self.model}: no upstream takes calls now")
        return hosts

    def _single(self, call: Call, index: int) -> AsyncGenerator[list[Chunk], None]:
        sampling = call.sampling
        seed = None if sampling.seed is None else sampling.seed + index
        return attempts(self.pool, replace(call, sampling=replace(sampling, seed=seed, n=1)), index, self._options)

    def _call(self, prompt: Prompt, sampling: Sampling) -> Call:
        words = self._words
        if words is None or not prompt.messages or prompt.tools or any(m.attachments for m in prompt.messages):
            return Call(self._name, prompt, sampling, stream=self._options.stream)
        encoded = words.encode(prompt)
        bare = Prompt(token_ids=encoded.ids) if self._ids_in else Prompt(text=words.render(prompt))
        return Call(self._name, bare, sampling, stream=self._options.stream, thinking=encoded.thinking)
