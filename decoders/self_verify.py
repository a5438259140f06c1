"""Self-verify: let the model look for the mistakes in its last attempt and correct them, again and again."""

from __future__ import annotations

from typing import ClassVar

from decoders.self_refine import SelfRefine


class SelfVerify(SelfRefine):
    """y_1 ~ p(· | x), y_t ~ p(· | x, "find the mistakes in", y_{t-1}) for t = 2 … T; the answer is that of y_T.

    Self-refine's loop with a prompt that asks to check before it asks to correct.
    """

    name: ClassVar[str] = "self_verify"
    paper: ClassVar[str] = "the self-verification baseline of arXiv 2602.03773"
    revision: ClassVar[str] = "correct"
