"""What was given up, in memory: the operator's port of the HTTP interface, for tests."""

from ourvidz_worker.domain.errors import Conflict, NotFound
from ourvidz_worker.queue import DeadCallback, DeadLetter


class FakeDead:
    """A `DeadDesk` that holds what a test puts in; jobs in `busy` may not be worked anew."""

    def __init__(self) -> None:
        """Begin with nothing given up."""
        self.kept: dict[str, DeadLetter] = {}
        self.owed: dict[int, DeadCallback] = {}
        self.busy: set[str] = set()
        self.replayed: list[str] = []
        self.revived: list[int] = []

    def bury(self, *letters: DeadLetter) -> None:
        """Keep dead letters, the oldest first."""
        self.kept |= {letter.id: letter for letter in letters}

    def give_up(self, *rows: DeadCallback) -> None:
        """Keep dead callbacks, the oldest first."""
        self.owed |= {row.id: row for row in rows}

    async def letters(self, limit: int) -> list[DeadLetter]:
        """The newest dead letters first."""
        return list(reversed(self.kept.values()))[:limit]

    async def replay(self, letter_id: str) -> str | None:
        """Take a letter out. Raises `NotFound`, `Conflict`."""
        if letter_id not in self.kept:
            raise NotFound
        if self.kept[letter_id].job_id in self.busy:
            raise Conflict
        self.replayed.append(letter_id)
        return self.kept.pop(letter_id).job_id

    async def callbacks(self, limit: int) -> list[DeadCallback]:
        """The newest dead callbacks first."""
        return list(reversed(self.owed.values()))[:limit]

    async def revive(self, callback_id: int) -> None:
        """Take a callback out. Raises `NotFound`, `Conflict`."""
        if callback_id not in self.owed:
            raise NotFound
        if self.owed[callback_id].job_id in self.busy:
            raise Conflict
        self.revived.append(callback_id)
        del self.owed[callback_id]
