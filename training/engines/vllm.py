"""vLLM beside the trainer: the engine that serves, with the weights of the policy handed over before each batch.

Options are vLLM's own engine arguments, as after `longthink serve --vllm.`. For a run of one process; more of them
share servers (`vllm_server`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from decoders.core.engine import Engine
from server.engines.vllm import start as start_vllm
from server.model_options import ModelOptions
from training.engines.following import FollowingEngine
from training.engines.weights import Handover, world_size
from training.engines.worker import EXTENSION
from training.settings import Reinforcement

_SHARE = 0.4
"""Of a GPU's memory for vLLM, which by itself would take all that the trainer needs."""


class VllmPolicy(FollowingEngine):
    """`folder` is the checkpoint that `net`, the live model, came from."""

    def __init__(self, folder: Path, net: Any, *, model: str, options: dict[str, Any]) -> None:
        super().__init__(model)
        self._folder, self._net, self._options = folder, net, options
        self._handover = Handover()
        self._llm: Any = None

    async def open(self) -> Engine:
        """Start vLLM; log-probabilities are those of the distribution that is drawn from."""
        if world_size() > 1:
            raise ValueError("engine vllm is for a run of one process; with more of them use vllm-server")
        chosen = {"logprobs-mode": "processed_logprobs", "worker-extension-cls": EXTENSION}
        if torch.cuda.is_available() and "gpu-memory-utilization" not in self._options:
            chosen["gpu-memory-utilization"] = _SHARE  # type: ignore[assignment]
        options = ModelOptions(
            engine="vllm", model=str(self._folder), served_name=self.model, vllm={**self._options, **chosen}
        )
        engine: Any = (await start_vllm(options))[self.model]
        self._llm = engine.llm
        opened: Engine = engine
        return opened

    async def push(self) -> None:
        """One copy into shared memory and one out of it."""
        self._handover.write(self._net)
        await self._llm.collective_rpc("load_policy", args=(str(self._handover.path),))
        await self._llm.reset_prefix_cache()

    async def aclose(self) -> None:
        """End vLLM."""
        await super().aclose()
        self._handover.remove()


def start(config: Reinforcement, model: Any, name: str) -> VllmPolicy:
    """See `training.engines.start`."""
    return VllmPolicy(config.model, model, model=name, options=config.engine_options)
