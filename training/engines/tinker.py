"""The policy behind the Tinker API (SkyRL, VeRL-Tinker, the hosted service): it samples there, and learns there.

Prompts are rendered here, with the checkpoint's own template, so that they are those of serving. Rule: what the API
cannot do is refused by name, never left out.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from importlib import import_module
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from decoders.core.engine import Chunk, Feature, TokenLogprob
from decoders.core.errors import EngineError, EngineUnavailable, InvalidRequest
from decoders.core.messages import Prompt, Sampling
from server.engines.embedded.checkpoint import Checkpoint
from server.engines.embedded.detokenizer import Detokenizer
from server.engines.embedded.tokenizer import ChatTokenizer, Encoded
from server.engines.limits import check, room
from training.rows import Row
from training.settings import Loss, Reinforcement


class Options(BaseModel):
    """`engine_options` of the engine `tinker`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str | None = None
    """Address of the service; without it the hosted one."""
    api_key: SecretStr | None = None
    """Without it the environment's `TINKER_API_KEY`."""
    base_model: str | None = None
    """The service's name of the model to start from; without it the folder `model`, for a service on this machine."""
    rank: int = Field(default=32, ge=1)
    """Of the LoRA adapters that are trained."""
    reduction: Literal["sum", "sequence"] = "sum"
    """What the service does with the losses of a batch's tokens: adds them up, or takes the mean of each sequence over
    its weights and then over sequences, as SkyRL's JAX backend does."""


class TinkerPolicy:
    """An engine whose weights are the training client's at the last `renew`."""

    exact = False

    def __init__(self, config: Reinforcement, options: Options, *, model: str) -> None:
        self.model = model
        self.features: frozenset[Feature] = frozenset({"prefix", "text", "token_ids"})
        self._checkpoint = Checkpoint.read(config.model)
        self._words = ChatTokenizer(config.model, self._checkpoint.config.get("vocab_size"))
        self._options, self._base, self._seed = options, options.base_model or str(config.model.resolve()), config.seed
        self.context_length = self._checkpoint.context(None)
        self.service: Any = None
        self.trainer: Any = None
        self._sampler: Any = None

    @property
    def ends(self) -> frozenset[int]:
        """The ids that end a completion."""
        return self._checkpoint.eos

    async def open(self) -> None:
        """Start the client that trains. Raises `EngineUnavailable` where the service does not answer."""
        sdk = import_module("tinker")
        key = self._options.api_key.get_secret_value() if self._options.api_key else None
        given = {"base_url": self._options.url, "api_key": key}
        try:
            self.service = sdk.ServiceClient(**{name: value for name, value in given.items() if value is not None})
            self.trainer = await self.service.create_lora_training_client_async(
                self._base, rank=self._options.rank, seed=self._seed
            )
        except (sdk.TinkerError, ValueError) as error:
            raise EngineUnavailable(f"the Tinker service: {error}") from error

    async def renew(self) -> None:
        """Sample from the weights as they are now."""
        if self.trainer is None:
            await self.open()
        self._sampler = await self.trainer.save_weights_and_get_sampling_client_async()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """All `n` completions whole, one call for all; their seeds are the service's business."""
        sdk = import_module("tinker")
        _check(sampling)
        encoded = self._words.encode(prompt)
        limit = room(self.context_length, len(encoded.ids), sampling.max_tokens)
        try:
            found = await self._sampler.sample_async(
                sdk.ModelInput.from_ints(list(encoded.ids)), sampling.n, self._parameters(sampling, limit)
            )
        except (sdk.TinkerError, ValueError) as error:
            raise EngineError(f"the Tinker service: {error}") from error
        for index, sequence in enumerate(found.sequences):
            yield self._chunk(encoded, sampling, index, sequence)

    async def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt."""
        return len(self._words.encode(prompt).ids)

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """The prompt's ids; see `Tokenizing`."""
        return self._words.encode(prompt, special=special, opened=opened).ids

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of these ids, special tokens included."""
        return self._words.decode(self._words.checked(ids, param="tokens"), special=True)

    async def ready(self) -> bool:
        """Whether there are weights to sample from."""
        return self._sampler is not None

    async def aclose(self) -> None:
        """Take no more calls; the service keeps what it has."""
        self._sampler = None

    def _parameters(self, sampling: Sampling, limit: int) -> Any:
        # The API takes ids or strings to stop at, not both.
        ends = [self._words.decode([id], special=True) for id in sorted(self.ends)]
        stop = [*sampling.stop, *ends] if sampling.stop else sorted(self.ends)
        return import_module("tinker").SamplingParams(
            max_tokens=limit,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k if sampling.top_k > 0 else -1,
            seed=None if sampling.seed is None else sampling.seed % 2**31,
            stop=stop,
        )

    def _chunk(self, encoded: Encoded, sampling: Sampling, index: int, sequence: Any) -> Chunk:
        words = Detokenizer(self._words.words, sampling.stop, self._words.unsettled, encoded.before)
        ids = tuple(sequence.tokens)
        text = "".join([*map(words.feed, ids), words.finish()])
        told = zip(ids, sequence.logprobs or (), strict=False)
        return Chunk(
            text=text,
            token_ids=ids,
            logprobs=tuple(TokenLogprob(id, "", logprob) for id, logprob in told),
            finish="stop" if sequence.stop_reason == "stop" else "length",
            index=index,
            prompt_tokens=0 if index else len(encoded.ids),
            thinking=encoded.thinking,
        )


def datum(row: Row, scale: float, *, weighted: bool) -> Any:
    """A row as the API has it: at each place the token that comes next, what it is worth and how likely it was.

    `scale` is what this row's advantages are multiplied by. With `weighted` the service is told by weights which tokens
    are trained; otherwise an advantage of 0 is all that says so.
    """
    sdk = import_module("tinker")
    if row.logprobs is None:
        raise ValueError("the Tinker API trains on tokens only with the log-probabilities they were drawn with")
    size, before = len(row.completion), [0.0] * (len(row.prompt) - 1)
    worth = row.advantage if isinstance(row.advantage, tuple) else (row.advantage,) * size
    mask = row.mask or (1,) * size
    ids = [*row.prompt, *row.completion]
    inputs = {
        "target_tokens": ids[1:],
        "logprobs": [*before, *row.logprobs],
        "advantages": [*before, *(scale * a * m for a, m in zip(worth, mask, strict=True))],
    }
    if weighted:
        inputs["weights"] = [*before, *map(float, mask)]
    return sdk.Datum(model_input=sdk.ModelInput.from_ints(ids[:-1]), loss_fn_inputs=inputs)


def data(rows: Sequence[Row], loss: Loss, options: Options, max_length: int) -> list[Any]:
    """The rows of one optimiser step, scaled so that the service's reduction comes to the mean that `loss` names."""
    tokens = max(sum(row.trained for row in rows), 1)
    made = []
    for row in rows:
        own = max(row.trained, 1)
        share = {"token": 1 / tokens, "sequence": 1 / (len(rows) * own), "constant": 1 / (len(rows) * max_length)}
        undone = own * len(rows) if options.reduction == "sequence" else 1.0
        made.append(datum(row, share[loss.mean] * undone, weighted=options.reduction == "sequence"))
    return made


def _check(sampling: Sampling) -> None:
    check(sampling)
    for name in ("min_p", "presence_penalty", "frequency_penalty", "structure"):
        if getattr(sampling, name):
            raise InvalidRequest(f"the Tinker API has no {name}", param=name)


def refuse(config: Reinforcement) -> None:
    """Raises `ValueError` naming the setting that the API cannot do."""
    loss = config.loss
    wrong = {
        "temperature": not math.isclose(config.temperature, 1.0),
        "loss.kl": bool(loss.kl),
        "loss.entropy": bool(loss.entropy),
        "loss.dual_clip": loss.dual_clip is not None,
        "rank": bool(config.rank),
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise ValueError(f"{name}: the Tinker API has no word for it; engine tinker needs its default")
