"""`vllm bench serve` without the command `vllm`, which looks for a package of that name and so fails in the CPU build.

Rule: options, requests and output are vLLM's own.
"""

from __future__ import annotations

import argparse

if __name__ == "__main__":
    from vllm.benchmarks.serve import add_cli_args, main

    parser = argparse.ArgumentParser(prog="vllm bench serve")
    add_cli_args(parser)
    main(parser.parse_args())
