"""From the operator's `--vllm.…` options to vLLM's own arguments. Rule: vLLM's parser checks them, under its names."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil
from vllm import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import BaseFrontendArgs
from vllm.platforms import current_platform
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.import_utils import import_plugin

from server.model_options import SHIPPED

_FRONT_END = {
    "chat_template",
    "chat_template_content_format",
    "default_chat_template_kwargs",
    "enable_auto_tool_choice",
    "lora_modules",
    "tool_call_parser",
    "tool_parser_plugin",
    "tool_strict_level",
}
"""Arguments of vLLM's server that mean something without its HTTP side."""
_OURS = {"model": "--model", "model_tag": "--model", "served_model_name": "--served-name"}
_MOST_CACHE = 4 << 30


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the operator chose: vLLM's engine arguments, and what its server would do around the engine."""

    engine: Any
    folder: Path | None
    """The checkpoint, where it is a folder and not a name of the hub."""
    front_end: Any
    adapters: Mapping[str, str]
    """Folders or hub names of LoRA adapters, by the name under which each is served."""
    tenants: Path | None = None
    """A folder of LoRA adapters that come and go."""


def read(options: Mapping[str, Any], model: str | None, tenants: Path | None = None) -> Arguments:
    """Raises `ValueError` naming the argument that vLLM does not know or whose value is wrong."""
    folder = Path(model or SHIPPED)
    given = {name.partition(".")[0].replace("-", "_") for name in options}
    for name in given & _OURS.keys():
        raise ValueError(f"--vllm.{name.replace('_', '-')}: use {_OURS[name]}")
    served = {field.name for field in dataclasses.fields(BaseFrontendArgs)} - _FRONT_END
    for name in given & served:
        raise ValueError(f"--vllm.{name.replace('_', '-')} is an option of vLLM's HTTP server, which does not run here")
    words = [word for name, value in {**_defaults(given), **options}.items() for word in _words(name, value)]
    parsed = _parser().parse_args([*words, f"--model={folder.resolve() if folder.is_dir() else model}"])
    _check_parser("tool-call-parser", parsed.tool_call_parser, ToolParserManager, parsed.tool_parser_plugin)
    _check_parser("reasoning-parser", parsed.reasoning_parser, ReasoningParserManager, parsed.reasoning_parser_plugin)
    adapters = {module.name: module.path for module in parsed.lora_modules or ()}
    if adapters and not parsed.enable_lora:
        raise ValueError("--vllm.lora-modules needs --vllm.enable-lora")
    if tenants is not None and not parsed.enable_lora:
        raise ValueError("--tenants needs --vllm.enable-lora")
    engine = AsyncEngineArgs.from_cli_args(parsed)
    return Arguments(engine, folder if folder.is_dir() else None, parsed, adapters, tenants)


def _parser() -> Any:
    parser = FlexibleArgumentParser(prog="vllm", add_help=False, allow_abbrev=False)
    BaseFrontendArgs.add_cli_args(AsyncEngineArgs.add_cli_args(parser))
    parser.error = _refuse
    return parser


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"vllm: {message}")


def _words(name: str, value: Any) -> Iterator[str]:
    match value:
        case True:
            yield f"--{name}"
        case False:
            yield f"--no-{name}"
        case list():
            yield f"--{name}"
            yield from (item if isinstance(item, str) else json.dumps(item) for item in value)
        case _:
            yield f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def _defaults(given: set[str]) -> dict[str, Any]:
    """What suits this server where the operator does not say."""
    chosen: dict[str, Any] = {
        "enable-prefix-caching": True,
        "disable-log-stats": True,
        "use-tqdm-on-load": False,
        "logprobs-mode": "raw_logprobs",
    }
    if current_platform.is_cpu():
        chosen |= _for_cpu(given)
    return {name: value for name, value in chosen.items() if name.replace("-", "_") not in given}


def _for_cpu(given: set[str]) -> dict[str, Any]:
    # bfloat16, vLLM's choice, is emulated on most CPUs; its cache would take nearly all memory and share prefixes only
    # in blocks of 128 tokens; a prompt with a seed that is computed in pieces ends vLLM 0.32, for a CPU's generator
    # cannot be turned back; the executor in a process of its own costs as much as a small model.
    chosen: dict[str, Any] = {"dtype": "float32", "block-size": 32, "enable-chunked-prefill": False}
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        chosen["kv-cache-memory-bytes"] = min(_MOST_CACHE, psutil.virtual_memory().available // 4)
    if not given & {"tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nnodes"}:
        chosen["distributed-executor-backend"] = "uni"
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # without it vLLM overrules that on a CPU
    if shutil.which("g++") is None:
        chosen["enforce-eager"] = True
    return chosen


def _check_parser(argument: str, name: str | None, known: Any, plugin: str | None) -> None:
    if plugin:
        import_plugin(plugin)
    if name and name not in known.list_registered():
        names = ", ".join(known.list_registered())
        raise ValueError(f"--vllm.{argument}: vLLM has no parser {name!r}, but {names}")
