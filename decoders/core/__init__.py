"""What every layer shares: engines, messages, budgets, runs, traces, events."""
