"""Measurements of a running endpoint: accuracy at equal tokens, load, and the engine. They see it as a client does."""
