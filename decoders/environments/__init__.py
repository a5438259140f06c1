"""Worlds in which an agent acts: what they are is in `base.py`, one file each kind."""
