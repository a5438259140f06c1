"""Labels of which a store in memory keeps nothing any more. Rule: who keeps something asks here before."""

from __future__ import annotations

from collections.abc import Sequence

from server.store.base import Purged


class Labels:
    """Those that were purged."""

    _purged: frozenset[str] = frozenset()

    def _refuse(self, labels: Sequence[str]) -> None:
        """Raises `Purged` where one of them was."""
        if gone := self._purged.intersection(labels):
            raise Purged(f"nothing of {', '.join(sorted(gone))} is kept")
