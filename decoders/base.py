"""What a decoder is: a strategy with its options in one frozen object, and a coroutine over a `Run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion

__all__ = ["Completion", "Decoder", "Run", "Task"]


class Decoder(BaseModel, ABC):
    """A strategy that turns a token budget into a better answer. A file in this folder with a subclass is all it takes.

    The fields are the options that a request may set; their defaults are the paper's, unless the checkpoint's template
    pack has others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: ClassVar[str]
    paper: ClassVar[str]
    """Where the strategy comes from."""

    @abstractmethod
    async def decode(self, task: Task, run: Run) -> Completion:
        """Answer the task and return the completion that holds the answer.

        An anytime algorithm: `run.answer` is called with every better answer, and `BudgetExhausted` is let through.
        """
