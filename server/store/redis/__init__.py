"""Runs, values and counters in Redis, for any number of replicas."""
