"""The contract suite of text engines: what the chat engine relies on, whatever computes.

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_text_engine(check, engine, sample):
        check(engine, sample)

`engine` is loaded by `load_checked`, with the ends and the capacity of the sample; `check_close`
comes last, for nothing can be asked of an engine after it.

Where arithmetic depends on the batch (16-bit numbers on a card), two nearly equal scores may change
places. Such a sample is not `exact`: texts are then compared by their first tokens, of which one
in eight may differ.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines import TextEngine
from ourvidz_worker.testing.text_reading import Whole, read_ready, read_some, read_whole

LONG = 300
"""The length of texts that must not end by themselves."""

FAIR = 1.5
"""Texts that begin together may be so far apart, the first from the last."""

ODD = 1 / 8
"""The share of the texts of an inexact engine that may begin otherwise."""

IN_TIME_S = 5.0
"""A read that should take 0.05 s has come back by then, on the busiest machine."""

GREEDY = Sampling(max_tokens=24, temperature=0.0)
WILD = Sampling(max_tokens=24, temperature=1.0, top_p=0.95, top_k=50)


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """What to try an engine with.

    `prompts` are eight short ones whose greedy texts have at least `LONG` tokens; `long_prompt`
    has at least 150. `ends` are those of the engine's settings, so many that a text of 60 tokens
    at temperature 1.5 often meets one (see `ends_beside`). `capacity` is that of the settings.
    """

    prompts: tuple[tuple[int, ...], ...]
    long_prompt: tuple[int, ...]
    ends: frozenset[int]
    capacity: int
    exact: bool = True


def ends_beside(texts: Iterable[Whole], vocabulary: int, *, every: int) -> frozenset[int]:
    """Every so many of the ids that none of `texts` has: ends that leave these texts whole."""
    used = {token for text in texts for token in text.ids}
    return frozenset(set(range(0, vocabulary, every)) - used)


def load_checked(engine: TextEngine) -> TextEngine:
    """Load an engine: it tells its parts in order, and is resident afterwards."""
    told: list[tuple[str, float]] = []
    engine.load(lambda part, fraction: told.append((part, fraction)))
    assert told, "load told nothing"
    assert all(part for part, _ in told)
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    held = engine.footprint()
    assert held.resident
    assert held.weights_bytes > 0
    return engine


def check_crowd(engine: TextEngine, sample: TextSample) -> None:
    """A greedy text is the same alone and in a crowd."""
    alone = [greedy(engine, prompt) for prompt in sample.prompts]
    others = [engine.add(prompt, WILD, seed) for seed, prompt in enumerate(sample.prompts)]
    crowd = [engine.add(prompt, GREEDY, 99) for prompt in sample.prompts]
    expect_alike(sample, alone, [read_whole(stream) for stream in crowd])
    assert all(read_whole(other).finish for other in others)


def check_seeds(engine: TextEngine, sample: TextSample) -> None:
    """Equal seeds draw equal texts, alone and in a crowd; another seed draws another."""
    alone = [read_whole(engine.add(sample.prompts[0], WILD, seed)) for seed in range(8)]
    again = [read_whole(engine.add(sample.prompts[0], WILD, seed)) for seed in range(8)]
    expect_alike(sample, alone, again)
    crowd = [engine.add(sample.prompts[0], WILD, seed) for seed in range(8)]
    expect_alike(sample, alone, [read_whole(stream) for stream in crowd])
    assert len({text.ids for text in alone}) > 1, "the seed changes nothing"


def check_ends(engine: TextEngine, sample: TextSample) -> None:
    """A text ends before an end of the model's, which is no part of it."""
    wild = Sampling(max_tokens=60, temperature=1.5, top_p=1.0)
    streams = [engine.add(sample.prompts[seed % 8], wild, seed) for seed in range(24)]
    texts = [read_whole(stream) for stream in streams]
    assert any(text.finish == "stop" for text in texts), "no text ended by itself"
    for text in texts:
        assert not set(text.ids) & sample.ends
        assert (len(text.ids) < 60) == (text.finish == "stop")


def check_lengths(engine: TextEngine, sample: TextSample) -> None:
    """A text has as many tokens as were asked for, even one, unless it ends by itself."""
    for most in (1, 2, LONG):
        text = greedy(engine, sample.prompts[0], max_tokens=most)
        assert (len(text.ids), text.finish) == (most, "length")


def check_chances(engine: TextEngine, sample: TextSample) -> None:
    """Chances are those before temperature and penalties, told only where they were asked for."""
    plain = greedy(engine, sample.prompts[0])
    assert all(token.logprob is None and not token.top for token in plain.tokens)
    bare = greedy(engine, sample.prompts[0], logprobs=0)
    assert all(token.logprob is not None and not token.top for token in bare.tokens)
    text = greedy(engine, sample.prompts[0], logprobs=5)
    expect_alike(sample, [plain], [text])
    for token in text.tokens:
        chances = [chance for _, chance in token.top]
        assert len({id_ for id_, _ in token.top}) == len(chances) == 5
        assert all(higher >= lower for higher, lower in pairwise(chances))
        assert sum(map(math.exp, chances)) < 1.001
        assert token.logprob is not None
        assert math.isclose(token.logprob, chances[0], abs_tol=1e-4 if sample.exact else 0.1)
    penalised = Sampling(max_tokens=1, temperature=2.0, frequency_penalty=2.0, logprobs=20)
    (first,) = read_whole(engine.add(sample.prompts[0], penalised, 3)).tokens
    near = 1e-4 if sample.exact else 0.1
    assert len(first.top) == 20
    assert math.isclose(first.top[0][1], text.tokens[0].top[0][1], abs_tol=near)


def check_cancel(engine: TextEngine, sample: TextSample) -> None:
    """A cancelled text ends and gives its place to one that waits; the others go on."""
    long = msgspec.structs.replace(GREEDY, max_tokens=LONG)
    expected = [greedy(engine, sample.prompts[1])] * 2
    first = engine.add(sample.prompts[0], long, 0)
    rest = [engine.add(sample.prompts[0], long, 0) for _ in range(sample.capacity - 2)]
    kept = engine.add(sample.prompts[1], GREEDY, 0)
    late = engine.add(sample.prompts[1], GREEDY, 0)
    begun = read_some(first)
    for stream in (first, *rest):
        stream.cancel()
    expect_alike(sample, expected, [read_whole(kept), read_whole(late)])
    assert len(begun) + len(read_ready(first)) < LONG, "a cancelled text went on to its end"
    assert all(len(read_ready(stream)) < LONG for stream in rest)


def check_cancel_early(engine: TextEngine, sample: TextSample) -> None:
    """A text may be cancelled before its first token, twice, and after its end."""
    other = engine.add(sample.prompts[1], GREEDY, 0)
    stream = engine.add(sample.long_prompt, GREEDY, 0)
    stream.cancel()
    stream.cancel()
    assert read_whole(other).finish == "length"
    other.cancel()
    assert len(read_ready(stream)) < GREEDY.max_tokens


def check_pause(engine: TextEngine, sample: TextSample) -> None:
    """While paused nothing comes and reads return in time; afterwards texts go on unchanged."""
    long = msgspec.structs.replace(GREEDY, max_tokens=LONG)
    expected = [
        greedy(engine, sample.prompts[2], max_tokens=LONG),
        greedy(engine, sample.prompts[3]),
    ]
    stream = engine.add(sample.prompts[2], long, 0)
    begun = read_some(stream)
    engine.pause()
    try:
        begun += read_ready(stream)
        late = engine.add(sample.prompts[3], GREEDY, 0)
        clock = SystemClock()
        asked_at = clock.monotonic()
        assert (stream.read(0.05).tokens, late.read(0.05).tokens) == ((), ())
        assert clock.monotonic() - asked_at < IN_TIME_S, "an empty read came too late"
        assert len(begun) < LONG, "the text was over before the pause"
    finally:
        engine.resume()
    expect_alike(sample, expected, [read_whole(stream, begun), read_whole(late)])


def check_park(engine: TextEngine, sample: TextSample) -> None:
    """A parked engine holds nothing of the device but weights; awake again it writes the same."""
    before = [greedy(engine, prompt) for prompt in sample.prompts]
    held = engine.footprint()
    for _ in range(2):
        engine.park()
        engine.park()
        parked = engine.footprint()
        assert not parked.resident
        engine.wake()
        engine.wake()
        awake = engine.footprint()
        assert awake.resident
        assert held.weights_bytes == parked.weights_bytes == awake.weights_bytes
        expect_alike(sample, before, [greedy(engine, prompt) for prompt in sample.prompts])


def check_many(engine: TextEngine, sample: TextSample) -> None:
    """More texts than run at once all end as each would alone."""
    prompts = [sample.prompts[index % 8] for index in range(2 * sample.capacity + 3)]
    alone = [greedy(engine, prompt, max_tokens=8) for prompt in sample.prompts]
    short = msgspec.structs.replace(GREEDY, max_tokens=8)
    streams = [engine.add(prompt, short, 0) for prompt in prompts]
    expected = [alone[index % 8] for index in range(len(prompts))]
    expect_alike(sample, expected, [read_whole(stream) for stream in streams])


def check_fairness(engine: TextEngine, sample: TextSample) -> None:
    """Texts that begin together go on together."""
    long = msgspec.structs.replace(GREEDY, max_tokens=LONG)
    count = min(sample.capacity, 64)
    streams = [engine.add(sample.prompts[index % 8], long, 0) for index in range(count)]
    written = [len(read_some(stream)) for stream in streams]
    while max(written) < LONG * 3 // 4:
        for index, stream in enumerate(streams):
            written[index] += len(stream.read(0.05).tokens)
    engine.pause()
    try:
        for index, stream in enumerate(streams):
            written[index] += len(read_ready(stream))
    finally:
        engine.resume()
    for stream in streams:
        stream.cancel()
    assert max(written) <= FAIR * min(written), f"{min(written)} to {max(written)} tokens"


def check_prefix(engine: TextEngine, sample: TextSample) -> None:
    """What was computed of a prompt is used again, told, and changes nothing."""
    engine.park()
    engine.wake()
    prompt = sample.long_prompt
    first = greedy(engine, prompt)
    again = greedy(engine, prompt)
    longer = greedy(engine, (*prompt, *first.ids, *sample.prompts[0]))
    other = greedy(engine, (*prompt[:100], *sample.prompts[1]))
    assert first.cached == 0, "a parked engine forgets what it computed"
    assert len(prompt) // 2 < again.cached < len(prompt)
    assert len(prompt) // 2 < longer.cached
    assert 50 < other.cached <= 100
    engine.park()
    engine.wake()
    bare = [greedy(engine, (*prompt[:100], *sample.prompts[1]))]
    bare += [greedy(engine, (*prompt, *first.ids, *sample.prompts[0]))]
    expect_alike(sample, [first, *bare], [again, other, longer])


def check_twins(engine: TextEngine, sample: TextSample) -> None:
    """Answers to one prompt that are asked for together share its reading."""
    engine.park()
    engine.wake()
    streams = [engine.add(sample.long_prompt, WILD, seed) for seed in range(4)]
    texts = [read_whole(stream) for stream in streams]
    length = len(sample.long_prompt)
    assert sum(length // 2 < text.cached < length for text in texts) >= 3
    alone = [read_whole(engine.add(sample.long_prompt, WILD, seed)) for seed in range(4)]
    expect_alike(sample, alone, texts)


def check_close(engine: TextEngine, sample: TextSample) -> None:
    """Closing ends every text, and no other begins."""
    stream = engine.add(sample.prompts[0], msgspec.structs.replace(GREEDY, max_tokens=LONG), 0)
    read_some(stream)
    engine.close()
    assert _refuses(lambda: engine.add(sample.prompts[0], GREEDY, 0)), "a closed engine wrote"
    assert _refuses(lambda: read_whole(stream)), "a text of a closed engine went on"
    engine.close()


Check = Callable[[TextEngine, TextSample], None]

CHECKS: tuple[Check, ...] = (
    check_crowd,
    check_seeds,
    check_ends,
    check_lengths,
    check_chances,
    check_cancel,
    check_cancel_early,
    check_pause,
    check_park,
    check_many,
    check_fairness,
    check_prefix,
    check_twins,
)


def name_of(check: Check) -> str:
    """A check's name, for a test's id."""
    return check.__name__.removeprefix("check_")


def greedy(
    engine: TextEngine,
    prompt: Sequence[int],
    *,
    max_tokens: int = GREEDY.max_tokens,
    logprobs: int | None = None,
) -> Whole:
    """The likeliest text behind a prompt."""
    asked = msgspec.structs.replace(GREEDY, max_tokens=max_tokens, logprobs=logprobs)
    return read_whole(engine.add(prompt, asked, 0))


def expect_alike(sample: TextSample, ones: Sequence[Whole], others: Sequence[Whole]) -> None:
    """The texts are equal, or where the engine is not exact, begin alike for the most part."""
    if sample.exact:
        assert [text.ids for text in ones] == [text.ids for text in others]
        return
    pairs = list(zip(ones, others, strict=True))
    odd = sum(one.ids[:1] != other.ids[:1] for one, other in pairs)
    assert odd <= max(1, ODD * len(pairs)), f"{odd} of {len(pairs)} texts begin otherwise"


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except OurvidzError:
        return True
    return False
