"""vLLM servers, one or more, on this machine or others: samples over HTTP, token ids in and out.

Each server is started with `VLLM_SERVER_DEV_MODE=1` and `--logprobs-mode processed_logprobs`. New weights reach it
by `transfer`: `file`, a safetensors file that the server can read (`--worker-extension-cls`, see `worker`), or `nccl`,
from GPU to GPU (`--weight-transfer-config '{"backend": "nccl"}'`). Rule: a server that is set up otherwise is refused
before the first step, with what it has to be started with.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import httpx
import torch
from pydantic import BaseModel, ConfigDict, Field

from decoders.core.engine import Engine
from decoders.core.errors import EngineError, EngineUnavailable
from server.engines.upstream import connect
from server.model_options import ModelOptions, UpstreamHost, UpstreamOptions
from training.engines.following import FollowingEngine
from training.engines.weights import Handover, is_main, weights, world_size
from training.engines.worker import EXTENSION
from training.settings import Reinforcement


class Options(BaseModel):
    """`engine_options` of the engine `vllm-server`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    servers: tuple[str, ...] = Field(min_length=1)
    """Addresses without a path, such as http://node-1:8000."""
    transfer: Literal["file", "nccl"] = "file"
    """How weights reach the servers."""
    folder: Path | None = None
    """Where the file is written; without it shared memory, which servers on this machine can read."""
    port: int = 51216
    """The first server's port of the NCCL group; the next one has the next."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """How long a server may take to load weights."""


class ServerPolicy(FollowingEngine):
    """Every process of a run samples by itself; the main one hands the weights over while the others wait."""

    def __init__(self, folder: Path, net: Any, *, model: str, options: Options) -> None:
        super().__init__(model)
        self._folder, self._net, self._options = folder, net, options
        self._servers = [Server(url, options.timeout_seconds) for url in options.servers]
        self._handover = Handover(options.folder)
        self._groups: list[Any] = []
        self._shapes: list[tuple[str, str, list[int]]] = []

    async def open(self) -> Engine:
        """Check the servers and connect to them. Prompts are rendered here, so that they are those of serving."""
        for server in self._servers:
            await server.check(self._options.transfer)
        hosts = [UpstreamHost(url=f"{server.url}/v1", dialect="vllm") for server in self._servers]
        upstream = UpstreamOptions(tokenizer=self._folder)
        options = ModelOptions(engine="upstream", served_name=self.model, upstream=[*hosts], upstream_options=upstream)
        engine = (await connect(options))[self.model]
        if self._options.transfer == "nccl" and is_main():
            self._groups = [self._join(url, self._options.port + i) for i, url in enumerate(self._options.servers)]
        return engine

    async def push(self) -> None:
        """Hand over, forget cached prefixes, and let no process sample before that is done."""
        if self._options.transfer == "nccl":
            self._broadcast()
        else:
            self._handover.write(self._net)
        if is_main():
            await asyncio.gather(*(self._renewed(server) for server in self._servers))
        if world_size() > 1:
            torch.distributed.barrier()

    async def aclose(self) -> None:
        """Leave the servers as they are, with the last weights."""
        for group in self._groups:
            group.close_communicator()
        await super().aclose()
        if is_main():
            self._handover.remove()
        for server in self._servers:
            await server.aclose()

    async def _renewed(self, server: Server) -> None:
        if self._options.transfer == "file":
            await server.post("collective_rpc", {"method": "load_policy", "args": [str(self._handover.path)]})
        await server.post("reset_prefix_cache")

    def _join(self, url: str, port: int) -> Any:
        """TRL's client keeps to vLLM's protocol of weight transfer."""
        client: Any = import_module("trl.generation.vllm_client").VLLMClient(base_url=url, group_port=port)
        client.init_communicator(device=next(self._net.parameters()).device)
        return client

    def _broadcast(self) -> None:
        """A walk over the weights for each server; processes that are not the main one walk along."""
        if not self._shapes:
            self._shapes = [(n, str(w.dtype).removeprefix("torch."), list(w.shape)) for n, w in weights(self._net)]
        for i in range(len(self._servers)):
            if is_main():
                self._groups[i].update_named_params(self._shapes, weights(self._net))
            else:
                for _ in weights(self._net):
                    pass


class Server:
    """The part of a vLLM server that is not for generation."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._client = httpx.AsyncClient(base_url=self.url, timeout=timeout)

    async def check(self, transfer: str) -> None:
        """Raises `EngineUnavailable` where nobody answers, `ValueError` for a server that was started otherwise."""
        info = await self._ask("GET", "/server_info?config_format=json")
        config: Any = info.get("vllm_config", {})
        if config.get("model_config", {}).get("logprobs_mode") != "processed_logprobs":
            raise ValueError(f"{self.url} must be started with --logprobs-mode processed_logprobs")
        if transfer == "file" and config["parallel_config"].get("worker_extension_cls") != EXTENSION:
            raise ValueError(f"{self.url} must be started with --worker-extension-cls {EXTENSION}")
        if transfer == "nccl" and not config.get("weight_transfer_config"):
            raise ValueError(f'{self.url} must be started with --weight-transfer-config \'{{"backend": "nccl"}}\'')

    async def post(self, path: str, body: dict[str, Any] | None = None) -> None:
        """A command, which the server has carried out when this returns."""
        await self._ask("POST", f"/{path}", body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise EngineUnavailable(f"vLLM at {self.url} does not answer: {error or type(error).__name__}") from error
        if response.status_code == 404:
            raise ValueError(f"{self.url} must be started with VLLM_SERVER_DEV_MODE=1 in its environment")
        if response.status_code != 200:
            raise EngineError(f"vLLM at {self.url}, {path}: {response.text}")
        found: dict[str, Any] = response.json()
        return found


def start(config: Reinforcement, model: Any, name: str) -> ServerPolicy:
    """See `training.engines.start`."""
    return ServerPolicy(config.model, model, model=name, options=Options.model_validate(config.engine_options))
