"""Pieces: the text of one attempt between the worker that writes it and the caller who reads it."""

import asyncio

from ourvidz_worker.domain.messages import TextPiece
from ourvidz_worker.domain.text_reply import TextPart, TokenChoice


class Pieces:
    """Put by the link, taken by one reader; never more than one part waits.

    Pieces that come while the reader is busy are joined into one part: a slow reader gets fewer
    and longer ones, holds up nobody, and holds no more than the one text.
    """

    def __init__(self) -> None:
        """Nothing has come."""
        self.begun = False
        """True once any piece has come."""
        self._texts: list[str] = []
        self._choices: list[TokenChoice] = []
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def put(self, piece: TextPiece) -> None:
        """One more piece."""
        self.begun = True
        self._texts.append(piece.text)
        self._choices += piece.choices
        self._tell()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._tell()

    async def take(self) -> TextPart | None:
        """All that came since the last part, once there is some; None at the end."""
        while not self._texts:
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        part = TextPart(text="".join(self._texts), choices=tuple(self._choices))
        self._texts, self._choices = [], []
        return part

    def _tell(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
