"""Which of some text engines is on the device, and whose turn it is.

Two models seldom fit beside each other, so one of them is parked while the other writes. They take
turns: who needs the parked one waits until the texts of the other have ended, and who needs the
other waits behind him. So neither waits longer than the texts that run when he comes, and a move.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition

from ourvidz_worker.engines.text import TextEngine

LOOK_EVERY_S = 0.05
"""While it waits, an attempt asks so often whether it should go on waiting."""


@dataclass(kw_only=True, eq=False)
class _Ticket:
    """Somebody who waits; `is_called` once a move was made for him."""

    name: str
    is_called: bool = False


class Residents:
    """Text engines by name, of which one is resident, or all where there is room."""

    def __init__(self, engines: Mapping[str, TextEngine], *, resident: str | None) -> None:
        """All are parked but `resident`; None when all are resident and stay it."""
        self._engines = engines
        self._takes_turns = resident is not None
        self._resident = resident
        self._is_moving = False
        self._users = 0
        self._waiting: list[_Ticket] = []
        self._changed = Condition()

    @contextmanager
    def turn(self, name: str, ask: Callable[[], None]) -> Iterator[TextEngine]:
        """The engine `name`, resident until the block ends.

        `ask` is called again and again while it waits, and may raise. Raises `OutOfMemory` when
        the engine finds no room on the device; the others can be used as before.
        """
        if not self._takes_turns:
            yield self._engines[name]
            return
        self._enter(name, ask)
        try:
            yield self._engines[name]
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _enter(self, name: str, ask: Callable[[], None]) -> None:
        ticket = _Ticket(name=name)
        with self._changed:
            self._waiting.append(ticket)
        try:
            while not self._is_let_in(ticket):
                if self._may_move(ticket):
                    self._move(ticket)
                else:
                    ask()
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _is_let_in(self, ticket: _Ticket) -> bool:
        """Count the ticket as a user, if its engine is there and nobody else is before it."""
        with self._changed:
            before = self._waiting[: self._waiting.index(ticket)]
            is_next = ticket.is_called or all(each.name == ticket.name for each in before)
            if self._is_moving or self._resident != ticket.name or not is_next:
                return False
            self._users += 1
            return True

    def _may_move(self, ticket: _Ticket) -> bool:
        """True when the move is this ticket's to make; else some time has passed."""
        with self._changed:
            is_first = self._waiting[0] is ticket
            if is_first and not self._is_moving and not self._users:
                self._is_moving = True
                return True
            self._changed.wait(LOOK_EVERY_S)
            return False

    def _move(self, ticket: _Ticket) -> None:
        """Park what is resident and wake the ticket's engine, for all that wait for it now."""
        here, there = self._resident, self._engines[ticket.name]
        try:
            if here is not None and here != ticket.name:
                self._engines[here].park()
                here = None
            there.wake()
            here = ticket.name
        finally:
            with self._changed:
                self._resident = here
                self._is_moving = False
                for each in self._waiting:
                    each.is_called = each.name == here
                self._changed.notify_all()
