"""Countdown for the harnesses of others: lm-eval, inspect_ai, guidellm, `vllm bench serve`.

Rule: all of them read the same problems and ask the same checker, which are ours. The modules that import a harness are
its own to load; nothing here imports them.
"""
