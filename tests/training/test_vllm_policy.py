"""vLLM that follows a policy in training: beside the trainer, and behind HTTP. `make test-vllm` runs this."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from decoders.core.errors import EngineUnavailable
from decoders.core.messages import Prompt, Sampling
from tests.contract.engines.support import HAS_VLLM, SMALL, Runner, _answers, until
from training.engines.vllm import VllmPolicy
from training.engines.vllm_server import Options, ServerPolicy
from training.engines.worker import EXTENSION
from training.settings import SHIPPED

PROMPT = Prompt(token_ids=tuple(2 + i % 60 for i in range(70)))
"""More than two blocks of a prefix cache."""
TEMPERATURE = 0.7
RIGHT = ("--worker-extension-cls", EXTENSION, "--logprobs-mode", "processed_logprobs")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed: `make test-vllm` installs it and runs this"),
    # what TRL says at its import where vLLM is there
    pytest.mark.filterwarnings("ignore:TRL currently supports vLLM", "ignore:.gradient_checkpointing.:FutureWarning"),
]


@dataclass
class Followed:
    """An engine with the model it follows."""

    engine: Any
    net: Any

    def move(self) -> None:
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.add_(0.03 * torch.randn_like(parameter))

    async def distance(self) -> tuple[float, int]:
        """How far the engine's log-probabilities are from the model's, and how many prompt tokens it had cached."""
        (ids, told, cached) = ([], [], 0)
        async for chunk in self.engine.generate(PROMPT, Sampling(40, temperature=TEMPERATURE, seed=3, logprobs=0)):
            ids += chunk.token_ids
            told += [each.logprob for each in chunk.logprobs]
            cached += chunk.cached_tokens
        before = PROMPT.token_ids or ()
        with torch.no_grad():
            logits = self.net(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1]
        right = torch.log_softmax(logits / TEMPERATURE, -1)[range(len(ids)), ids]
        assert len(told) == len(ids) > 0
        return (right - torch.tensor(told)).abs().max().item(), cached


@contextmanager
def serving() -> Iterator[str]:
    """A vLLM server set up as the documentation says, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(SHIPPED), *RIGHT]
    command += ["--port", str(port), "--no-enable-chunked-prefill"]
    for name, value in SMALL.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    more = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(command, env={**os.environ, **more, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    try:
        until(lambda: _answers(process, f"http://127.0.0.1:{port}/health"), 180)  # type: ignore[arg-type]
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def run() -> Iterator[Runner]:
    with asyncio.Runner() as runner:
        yield runner.run  # type: ignore[misc]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture(scope="module", params=["vllm", "vllm-server"])
def followed(request: pytest.FixtureRequest, run: Runner) -> Iterator[Followed]:
    torch.manual_seed(1)
    net = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    engine: Any
    if request.param == "vllm":
        engine = VllmPolicy(SHIPPED, net, model="policy", options=dict(SMALL))
    else:
        options = Options(servers=(request.getfixturevalue("server"),))
        engine = ServerPolicy(SHIPPED, net, model="policy", options=options)
    yield Followed(engine, net)
    path = engine._handover.path
    assert path.exists()
    run(engine.aclose())
    assert not path.exists()


def test_it_samples_from_the_weights_of_the_last_renewal(followed: Followed, run: Runner) -> None:
    with pytest.raises(EngineUnavailable, match="renew"):
        run(followed.distance())
    for _ in range(2):
        followed.move()
        run(followed.engine.renew())
        distance, cached = run(followed.distance())
        assert distance < 1e-4
        assert cached == 0, "a prefix of the old weights was reused"
    followed.move()
    assert run(followed.distance())[0] > 1e-2, "it cannot know of new weights before it is told"


def test_it_tells_what_decoders_ask_an_engine(followed: Followed, run: Runner) -> None:
    run(followed.engine.renew())
    assert {"logprobs", "token_ids"} <= followed.engine.features
    assert followed.engine.context_length == 2048
    ids = run(followed.engine.tokenize(Prompt(text="use 3 4 to make 7")))
    assert run(followed.engine.detokenize(ids)) == "use 3 4 to make 7"
    assert run(followed.engine.count(PROMPT)) == len(PROMPT.token_ids or ())
    assert run(followed.engine.ready())


def test_a_recipe_trains_on_what_a_server_samples(server: str, tmp_path: Path) -> None:
    from training.recipes.grpo import Config, train

    wanted = {"output": tmp_path, "steps": 2, "batch": 2, "group": 4, "max_tokens": 48, "warmup": 0, "device": "cpu"}
    options = {"engine": "vllm-server", "engine_options": {"servers": [server]}, "learning_rate": 1e-3}
    loss = {"advantage": "centred", "kl": 0.001}  # with it rows are computed whatever their rewards
    train(Config.model_validate({**wanted, **options, "loss": loss, "levels": ["easy"]}))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 < line["sampler/gap"] < 1e-4 for line in lines), "the second step was sampled by the first's result"


def test_a_server_that_is_set_up_for_another_way_of_handing_over_is_refused(server: str, run: Runner) -> None:
    policy = ServerPolicy(SHIPPED, None, model="policy", options=Options(servers=(server,), transfer="nccl"))
    with pytest.raises(ValueError, match="--weight-transfer-config"):
        run(policy.renew())
    run(policy.aclose())
