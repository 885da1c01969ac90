"""What the fake engine makes: pictures and words that are a function of request and seed alone."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ourvidz_worker.domain.request import ChatRequest, ImageRequest, VideoRequest
from ourvidz_worker.engines.encode import Pixels

WORDS = ("and", "then", "a", "quiet", "river", "under", "the", "old", "bridge", "again", "slowly")
FEWEST_WORDS, MOST_WORDS = 8, 40
_TURN = 2 * np.pi


def key_of(*parts: str | int | bytes | None) -> bytes:
    """A digest that tells every list of parts from every other."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8) + data)
    return digest.digest()


def picture_key(
    request: ImageRequest | VideoRequest, seed: int, references: Sequence[Path]
) -> bytes:
    """What decides a picture: prompts, seed, and the bytes of its references."""
    pictures = [path.read_bytes() for path in references]
    return key_of(request.prompt, request.negative_prompt, seed, *pictures)


def paint(width: int, height: int, key: bytes, moment: float = 0.0) -> Pixels:
    """Waves of colour (height, width, 3), drawn from `key`; `moment` 0..1 moves them once."""
    chance = np.random.default_rng(list(key))
    rows, columns = np.mgrid[0:height, 0:width] / max(width, height)
    planes = []
    for _ in range(3):
        angle, waves, shift = chance.uniform((0, 1, 0), (_TURN, 4, _TURN))
        along = columns * np.cos(angle) + rows * np.sin(angle)
        planes.append(np.sin(_TURN * (waves * along + moment) + shift))
    return np.rint((np.stack(planes, axis=-1) + 1) * 127.5).astype(np.uint8)


def fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size scaled down to `longest` pixels at most, both sides even and at least 2."""
    scale = min(1.0, longest / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def ids_digest(words: Sequence[str]) -> str:
    """The digest of what was fed: each word's number stands for its token id."""
    ids = (zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words)
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def film(width: int, height: int, key: bytes, frames: int) -> Pixels:
    """A clip (frames × height, width, 3) whose waves travel once."""
    return np.stack([paint(width, height, key, index / frames) for index in range(frames)])


def prompt_words(request: ChatRequest) -> list[str]:
    """All words given, in order; each counts as one token."""
    texts = [message.content for message in request.messages] or [request.text or ""]
    return [word for text in texts for word in text.split()]


def spoken(request: ChatRequest, seed: int, words: int = 0) -> Iterator[str]:
    """The answer word by word, each but the first with its space; ends where it has said enough.

    That is after so many `words`; 0 draws how many. At temperature 0 the seed has no say.
    """
    drawn = seed if request.sampling.temperature > 0 else None
    given = prompt_words(request)
    key = key_of(request.model, drawn, "\0".join(given))
    chance = np.random.default_rng(int.from_bytes(key[:8]))
    choice = [*given, *WORDS]
    drawn_words = int(chance.integers(FEWEST_WORDS, MOST_WORDS + 1))
    for index in range(words or drawn_words):
        word = choice[int(chance.integers(len(choice)))]
        yield f" {word}" if index else word


class StopFinder:
    """Cuts a stream of text before the first stop string; holds back what may begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        """An empty stop string is no stop."""
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """What may be shown now, after `piece` came; nothing more once a stop was found."""
        if self.found:
            return ""
        text = self._held + piece
        ends = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back and turned out to be no stop."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many last characters of `text` are the first of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
