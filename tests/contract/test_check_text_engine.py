"""The contract suite of text engines catches engines that break the contract."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.contract.test_text_engine import LONG_PROMPT, PROMPTS

from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines import TextSettings, Token, Tokens, TokenStream
from ourvidz_worker.engines.text.transformers import TransformersText
from ourvidz_worker.testing.check_text_engine import (
    Check,
    TextSample,
    check_cancel,
    check_cancel_early,
    check_chances,
    check_close,
    check_crowd,
    check_ends,
    check_fairness,
    check_lengths,
    check_many,
    check_park,
    check_pause,
    check_prefix,
    check_seeds,
    check_twins,
    load_checked,
)
from ourvidz_worker.testing.tiny_models import build_qwen2


class Altered:
    """A stream that tells something else than what came, or does not listen."""

    def __init__(self, stream: TokenStream, *, deaf: bool = False, **changes: object) -> None:
        self._stream = stream
        self._deaf = deaf
        self._changes = changes

    def read(self, timeout_s: float) -> Tokens:
        return msgspec.structs.replace(self._stream.read(timeout_s), **self._changes)

    def cancel(self) -> None:
        if not self._deaf:
            self._stream.cancel()


class Deaf(TransformersText):
    """Goes on after a cancel."""

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        return Altered(super().add(ids, sampling, seed), deaf=True)


class Seedless(TransformersText):
    """Draws the same whatever the seed."""

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        return super().add(ids, sampling, 1)


class Moody(TransformersText):
    """Draws otherwise each time."""

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        asked = msgspec.structs.replace(sampling, temperature=sampling.temperature or 3.0)
        return super().add(ids, asked, id(asked) % 1000)


class Endless(TransformersText):
    """Knows no ends."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(msgspec.structs.replace(settings, ends=frozenset()))


class Generous(TransformersText):
    """Writes one token too many."""

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        more = msgspec.structs.replace(sampling, max_tokens=sampling.max_tokens + 1)
        return super().add(ids, more, seed)


class Silent(TransformersText):
    """Tells no chances."""

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        return super().add(ids, msgspec.structs.replace(sampling, logprobs=None), seed)


class Restless(TransformersText):
    """Does not pause."""

    def pause(self) -> None:
        return


class Forgetful(TransformersText):
    """Keeps nothing of ended texts, yet says that it found it."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(msgspec.structs.replace(settings, options={"prefix_bytes": 0}))

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        return Altered(super().add(ids, sampling, seed), cached=len(ids) + 1)


class Immovable(TransformersText):
    """Parks in name alone."""

    def park(self) -> None:
        return


class Immortal(TransformersText):
    """Goes on after it is closed."""

    def close(self) -> None:
        return


class Solitary(TransformersText):
    """Runs one text after another."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(msgspec.structs.replace(settings, capacity=1))


class Stuttering(TransformersText):
    """Leaves out what came in a crowd."""

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:  # type: ignore[override]
        stream = super().add(ids, sampling, seed)
        crowded = len(self._texts) > 1
        return Altered(stream, tokens=(Token(id=1),)) if crowded else stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen2(tmp_path_factory.mktemp("tiny") / "qwen")


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Deaf, check_cancel),
        (Deaf, check_cancel_early),
        (Seedless, check_seeds),
        (Moody, check_seeds),
        (Moody, check_crowd),
        (Endless, check_ends),
        (Generous, check_lengths),
        (Silent, check_chances),
        (Restless, check_pause),
        (Forgetful, check_prefix),
        (Forgetful, check_twins),
        (Immovable, check_park),
        (Immortal, check_close),
        (Solitary, check_fairness),
        (Stuttering, check_many),
    ],
)
def test_the_check_catches(kind: type[TransformersText], check: Check, folder: Path) -> None:
    sample = TextSample(
        prompts=PROMPTS, long_prompt=LONG_PROMPT, ends=frozenset(range(0, 320, 9)), capacity=4
    )
    settings = TextSettings(model=folder, ends=sample.ends, context=512, capacity=4)
    engine = kind(settings)
    load_checked(engine)
    try:
        with pytest.raises(AssertionError):
            check(engine, sample)
    finally:
        TransformersText.close(engine)
