"""vLLM in this process: any of its engine arguments, its tool and reasoning parsers, LoRA adapters by name.

Rule: vLLM is imported by `start`, never here, so that the server can say how to install it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from decoders.core.engine import Engine

if TYPE_CHECKING:
    from server.model_options import ModelOptions

__all__ = ["start"]

_QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
"""vLLM logs several dozen lines at a start and reports to its makers, unless the operator says otherwise."""


async def start(options: ModelOptions) -> Mapping[str, Engine]:
    """The model and each of its LoRA adapters, by the names under which they are served.

    Raises `ValueError` naming the argument that is wrong, `EngineUnavailable` when the model cannot be loaded.
    """
    if find_spec("vllm") is None:
        raise ValueError("vLLM is not installed: pip install 'longthink[vllm]', on a CPU `make .venv-vllm/ready`")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # What vLLM's modules say about the versions of their own dependencies is not the operator's to mend.
        warnings.simplefilter("ignore")
        arguments = import_module("server.engines.vllm.arguments").read(options.vllm, options.model, options.tenants)
        engines: Mapping[str, Engine] = await import_module("server.engines.vllm.core").load(arguments, options.name)
    return engines
