"""Experts that show a model what to imitate."""
