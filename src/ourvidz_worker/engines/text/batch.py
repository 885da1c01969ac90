"""The texts that run together, and the step that moves each of them on by one token.

Nothing here knows of threads: one of them steps, and it alone touches what is here.
"""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError, OutOfMemory
from ourvidz_worker.engines.caches import give_back_caches
from ourvidz_worker.engines.chat_sampling import Sampler, draw_all
from ourvidz_worker.engines.device import foreign_errors
from ourvidz_worker.engines.text.base import Token
from ourvidz_worker.engines.text.causal import CausalModel
from ourvidz_worker.engines.text.chances import with_chances
from ourvidz_worker.engines.text.past import Past
from ourvidz_worker.engines.text.prefixes import LEAST_TOKENS, Prefixes
from ourvidz_worker.engines.text.schedule import share_out
from ourvidz_worker.engines.text.writing import Writing

Part = tuple[Writing, int]
"""A text, and how many of its tokens a step computes."""

Drawn = Token | AttemptError
"""What came out for a text."""


class Batch:
    """Reads prompts, writes texts, and keeps what ended ones leave."""

    def __init__(
        self,
        model: CausalModel,
        *,
        ends: Collection[int],
        prefill_tokens: int,
        prefix_bytes: int,
        cache_bytes: int | None = None,
    ) -> None:
        """A text ends before any of `ends`; a step reads so many tokens of prompts.

        Running texts may take `cache_bytes`, as long as they may become; None sets no bound.
        """
        self._model = model
        self._ends = ends
        self._prefill_tokens = prefill_tokens
        self._cache_bytes = cache_bytes
        self._reuses = prefix_bytes > 0
        self._prefixes = Prefixes(prefix_bytes)
        self.running: list[Writing] = []
        self._ended: list[Writing] = []

    @property
    def cache_bytes(self) -> int:
        """What running and ended texts hold."""
        pasts = [text.past for text in tuple(self.running)]
        return sum(past.size_bytes for past in pasts if past) + self._prefixes.size_bytes

    def has_room(self, text: Writing) -> bool:
        """False while a text might not fit beside those that run; alone it may always try."""
        if self._cache_bytes is None or not self.running:
            return True
        most = text.most + sum(each.most for each in self.running)
        return most * self._model.shape.token_bytes <= self._cache_bytes

    def join(self, text: Writing) -> None:
        """A text begins; it is read with the next step."""
        self.running.append(text)

    def leave(self, text: Writing) -> None:
        """A text is cancelled."""
        self._retire(text)
        text.stream.close()

    def take_ended(self) -> list[Writing]:
        """The texts that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def forget(self) -> None:
        """Let go of what ended texts left."""
        self._prefixes.clear()

    def step(self) -> None:
        """Move every text on by one token, and the reading of prompts by a part."""
        parts = [(text, 1) for text in self.running if text.is_written]
        parts += self._read_on()
        if parts:
            self._compute(parts)

    # ---- reading prompts ---------------------------------------------------------------------

    def _read_on(self) -> list[Part]:
        """What to read of the prompts now."""
        readers: list[Writing] = []
        for text in [text for text in self.running if not text.is_written]:
            if text.past or (not self._waits(text, readers) and self._begin(text)):
                readers.append(text)
        shares = share_out([text.left for text in readers], self._prefill_tokens)
        return [part for part in zip(readers, shares, strict=True) if part[1]]

    def _waits(self, text: Writing, readers: Sequence[Writing]) -> bool:
        """True while an earlier text reads what this one begins with too: it comes for free."""
        if not self._reuses:
            return False
        if text.twin not in readers:
            text.twin = next((each for each in readers if _has_more(each, text)), None)
        return text.twin is not None and _has_more(text.twin, text)

    def _begin(self, text: Writing) -> bool:
        """Take memory for a text, with what is computed of its prompt; False if there is none."""
        try:
            self._take_room(text)
        except OutOfMemory:
            self._make_room()
            try:
                self._take_room(text)
            except OutOfMemory as error:
                self._fail(text, error)
                return False
        return True

    def _take_room(self, text: Writing) -> None:
        source, length = self._ready(text) if self._reuses else (None, 0)
        with foreign_errors():
            past = Past(self._model.shape, text.room)
            if source is not None and length >= LEAST_TOKENS:
                past.take_over(source, length)
                text.cached = length
            text.sampler = Sampler(
                text.sampling, text.seed, text.ids, self._model.vocabulary, self._model.device
            )
        text.past = past

    def _ready(self, text: Writing) -> tuple[Past | None, int]:
        """Who has computed most of the beginning of a text's prompt, and how many tokens."""
        source, length = self._prefixes.find(text.prompt)
        for other in self.running:
            if other.past and (found := _common(other, text)) > length:
                source, length = other.past, found
        # The last token is computed anew: what follows it is not kept.
        return source, min(length, len(text.prompt) - 1)

    # ---- one pass ----------------------------------------------------------------------------

    def _compute(self, parts: Sequence[Part]) -> None:
        """Compute the parts and draw; nothing has changed when that fails."""
        try:
            with foreign_errors():
                logits = self._logits(parts)
                drawn = self._drawn(parts, logits)
        except AttemptError as error:
            self._find_guilty(parts, error)
            return
        for text, count in parts:
            text.move_on(count)
        for text, token in drawn:
            self._tell(text, token)

    def _logits(self, parts: Sequence[Part]) -> Tensor:
        for text, count in parts:
            if text.past:
                text.past.reserve(text.past.length + count)
        return self._model.run([text.span(count) for text, count in parts])

    def _drawn(self, parts: Sequence[Part], logits: Tensor) -> list[tuple[Writing, Drawn]]:
        """The next token of each text whose known tokens are all computed with this pass."""
        rows = [row for row, (text, count) in enumerate(parts) if count == text.left]
        texts = [parts[row][0] for row in rows]
        if not texts:
            return []
        logits = logits[rows]
        drawn = draw_all([text.sampler for text in texts if text.sampler], logits)
        asked = {
            row: text.sampling.logprobs
            for row, text in enumerate(texts)
            if text.sampling.logprobs is not None
        }
        told = _with_chances(logits, drawn, asked)
        return [
            (text, told.get(row) or (Token(id=token) if isinstance(token, int) else token))
            for row, (text, token) in enumerate(zip(texts, drawn, strict=True))
        ]

    def _find_guilty(self, parts: Sequence[Part], error: AttemptError) -> None:
        """Compute one by one what failed together; what fails alone as well has ended."""
        relieved = isinstance(error, OutOfMemory) and self._make_room()
        if len(parts) == 1 and not relieved:
            self._fail(parts[0][0], error)
            return
        for part in parts:
            self._compute([part])

    def _make_room(self) -> bool:
        """Give back what can be spared; False when there was nothing."""
        freed = self._prefixes.clear()
        if freed:
            give_back_caches()
        return freed

    def _tell(self, text: Writing, token: Drawn) -> None:
        if isinstance(token, AttemptError):
            self._fail(text, token)
        elif token.id in self._ends:
            text.end()
            self._retire(text)
        elif text.put(token):
            self._retire(text)

    # ---- ends --------------------------------------------------------------------------------

    def _retire(self, text: Writing) -> None:
        """A text runs no more; what it computed is kept for those that begin alike."""
        self._end(text)
        past, text.past = text.past, None
        if past is None or not self._reuses:
            return
        try:
            with foreign_errors():
                past.trim()
        except OutOfMemory:
            return
        self._prefixes.keep(text.known(past.length), past)

    def _fail(self, text: Writing, error: AttemptError) -> None:
        self._end(text)
        text.past = None
        text.stream.close(error)

    def _end(self, text: Writing) -> None:
        self.running.remove(text)
        self._ended.append(text)


def _with_chances(
    logits: Tensor, drawn: Sequence[int | AttemptError], asked: Mapping[int, int]
) -> dict[int, Token]:
    """The tokens of the rows of which so many chances were `asked`."""
    ids = {row: token for row in asked if isinstance(token := drawn[row], int)}
    if not ids:
        return {}
    rows = list(ids)
    tokens = with_chances(logits[rows], list(ids.values()), [asked[row] for row in rows])
    return dict(zip(rows, tokens, strict=True))


def _common(one: Writing, other: Writing) -> int:
    """How many tokens of the other's prompt the one has computed already."""
    computed = one.past.length if one.past else 0
    return min(one.prompt.shared(other.prompt), computed)


def _has_more(one: Writing, other: Writing) -> bool:
    """True while the one still has to read enough of what both begin with."""
    both = one.prompt.shared(other.prompt)
    return both - _common(one, other) >= LEAST_TOKENS
