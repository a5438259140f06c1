"""Answer checkers and rewards: the same ones for serving, training and benchmarks."""
