"""Runs, values and counters in one file, for the processes of one machine."""
