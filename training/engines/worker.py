"""What vLLM's workers learn for training: to take the policy's weights from a file while they serve.

`--worker-extension-cls training.engines.worker.PolicyWorker` mixes the class into vLLM's own worker, of which it uses
`model_runner` only.
"""

from __future__ import annotations

from typing import Any

from safetensors import safe_open

EXTENSION = f"{__name__}.PolicyWorker"
"""What vLLM has to be told."""


class PolicyWorker:
    """Methods that vLLM's `collective_rpc` calls by name, in its own processes and over HTTP alike."""

    model_runner: Any

    def load_policy(self, path: str) -> None:
        """Generate with the weights of this safetensors file from the next token on."""
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            self.model_runner.reload_weights(weights_iterator=((name, file.get_tensor(name)) for name in names))
        head: Any = getattr(self.model_runner.get_model(), "lm_head", None)
        if hasattr(head, "cpu_linear"):
            # On a CPU vLLM multiplies with a packed copy, and packs again only what the file names: not a tied head.
            head.quant_method.process_weights_after_loading(head)
