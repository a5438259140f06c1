"""One request's purse of tokens, with a deadline. Rule: spent + reserved ≤ tokens, in every purse of the tree."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from decoders.core.errors import BudgetExhausted


@dataclass(slots=True)
class Budget:
    """A purse from which calls reserve what they may use and to which they give back what they did not.

    `deadline` is a `time.monotonic()` value in seconds. A share made by `split` or `share` draws on its parent, so a
    branch can never spend what a sibling has already spent.
    """

    tokens: int
    deadline: float | None = None
    spent: int = field(default=0, init=False)
    reserved: int = field(default=0, init=False)
    parent: Budget | None = None

    @property
    def left(self) -> int:
        """Tokens that a new reservation may still take."""
        own = self.tokens - self.spent - self.reserved
        return own if self.parent is None else min(own, self.parent.left)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def share(self, tokens: int) -> Budget:
        """A purse of at most `tokens`, drawing on this one."""
        return Budget(min(tokens, max(self.left, 0)), self.deadline, parent=self)

    def split(self, n: int) -> list[Budget]:
        """`n` equal shares of what is left; the remainder goes to the first ones, one token each."""
        share, rest = divmod(max(self.left, 0), n)
        return [self.share(share + (1 if i < rest else 0)) for i in range(n)]

    def reserve(self, want: int) -> int:
        """Set aside at most `want` tokens for one call and return how many were granted.

        Raises `BudgetExhausted` when nothing is left or the deadline has passed.
        """
        granted = min(want, self.left)
        if granted <= 0 or self.expired:
            raise BudgetExhausted("the token budget is spent" if granted <= 0 else "the deadline has passed")
        purse: Budget | None = self
        while purse is not None:
            purse.reserved += granted
            purse = purse.parent
        return granted

    def settle(self, granted: int, used: int) -> None:
        """Turn a reservation into what was really used; the rest goes back."""
        purse: Budget | None = self
        while purse is not None:
            purse.reserved -= granted
            purse.spent += used
            purse = purse.parent
