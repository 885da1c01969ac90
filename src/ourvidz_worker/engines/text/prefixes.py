"""What ended texts computed, kept for those that begin alike."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ourvidz_worker.engines.text.past import Past

MOST_TEXTS = 256
"""So many are compared with a prompt that begins; where all begin alike that takes 1 ms."""

LEAST_TOKENS = 16
"""Computing fewer takes about as long as computing one."""


class Beginning:
    """The ids of a text in order, made to be compared with many others."""

    __slots__ = ("head", "ids")

    def __init__(self, ids: Sequence[int]) -> None:
        """Copies the ids."""
        self.ids = np.array(ids, dtype=np.int64)
        self.head = tuple(ids[:LEAST_TOKENS])

    def __len__(self) -> int:
        return len(self.ids)

    def shared(self, other: "Beginning") -> int:
        """How many ids both begin with; 0 where that is fewer than `LEAST_TOKENS`."""
        if self.head != other.head or len(self.head) < LEAST_TOKENS:
            return 0
        length = min(len(self), len(other))
        differ = np.flatnonzero(self.ids[:length] != other.ids[:length])
        return int(differ[0]) if differ.size else length


class Prefixes:
    """Keeps what texts computed, at most `budget_bytes`; those used longest ago go first."""

    def __init__(self, budget_bytes: int) -> None:
        """With a budget of 0 nothing is kept."""
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[int, tuple[Beginning, Past]] = OrderedDict()
        self._next = 0
        self.size_bytes = 0

    def find(self, ids: Beginning) -> tuple[Past | None, int]:
        """The text that begins most like `ids`, and for how many of them."""
        best, length = None, 0
        for key, (kept, _) in self._kept.items():
            found = ids.shared(kept)
            if found > length:
                best, length = key, found
        if best is None:
            return None, 0
        self._kept.move_to_end(best)
        return self._kept[best][1], length

    def keep(self, ids: Beginning, past: Past) -> None:
        """Take what a text computed, unless a longer one holds it already."""
        if past.size_bytes > self._budget_bytes or len(ids) < LEAST_TOKENS:
            return
        for key, (kept, _) in list(self._kept.items()):
            common = ids.shared(kept)
            if common == len(ids):
                self._kept.move_to_end(key)
                return
            if common == len(kept):
                self._forget(key)
        self._kept[self._next] = (ids, past)
        self._next += 1
        self.size_bytes += past.size_bytes
        self._shrink()

    def clear(self) -> bool:
        """Forget everything; False when there was nothing."""
        held = bool(self._kept)
        self._kept.clear()
        self.size_bytes = 0
        return held

    def _shrink(self) -> None:
        while self.size_bytes > self._budget_bytes or len(self._kept) > MOST_TEXTS:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: int) -> None:
        _, past = self._kept.pop(key)
        self.size_bytes -= past.size_bytes
