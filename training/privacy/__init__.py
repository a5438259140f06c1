"""Public data, private data, or both? `longthink train privacy`: a planner, and a judge trained under privacy.

`budget` is what noise spends, `families` the problems with their estimators and risks, `risk` what two sources are
worth together, `plan` the recommendation or refusal, `validate` the simulation that holds every formula to account.
They are about Gaussian data and linear parameters, in few dimensions: nothing here is a statement about the fine-tuning
of a language model. `scorer` is where this is put to use: a linear judge of answers, in ten weights.
"""

from training.privacy.command import main

__all__ = ["main"]
