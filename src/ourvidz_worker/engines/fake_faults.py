"""The options of the fake engine, and the faults it commits when it is told to."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    DeadlinePassed,
    ImageToImageFailed,
    InvalidPrompt,
    ModelLoadFailed,
    OutOfMemory,
    RequestError,
    Unavailable,
)

FOREIGN = "FOREIGN"
"""The `fail_code` of an exception that is none of ours."""

_FAILURES = {
    failure.code: failure
    for failure in (
        AttemptError,
        DeadlinePassed,
        ImageToImageFailed,
        InvalidPrompt,
        ModelLoadFailed,
        OutOfMemory,
        RequestError,
        Unavailable,
    )
}


class FakeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the fake engine behaves; times in seconds, steps count from 1, 0 means never.

    A step is one of a picture's denoising or one token of a text. A text has `words` words, 0
    draws how many. `in_step` has the steps of all attempts end together, at multiples of
    `steps_s`, as those of one batch do. With `fault_marker` (a file's
    path) a fault strikes once: while that file does not exist, which it then creates. `witness`
    is a file that gets a line with the time whenever an attempt begins.
    """

    steps_s: float = 0.0
    in_step: bool = False
    words: int = 0
    load_s: float = 0.0
    memory_bytes: int = 1 << 30
    capacity: int = 1
    max_side: int = 128
    max_frames: int = 17
    fail_load: bool = False
    fail_at_step: int = 0
    fail_code: str = AttemptError.code
    crash_at_step: int = 0
    hang_at_step: int = 0
    nan_at_step: int = 0
    fault_marker: str = ""
    witness: str = ""


def read_options(options: Mapping[str, str | int | float | bool]) -> FakeOptions:
    """The options by name. Raises `ConfigError` for one that is unknown or of another type."""
    try:
        found = msgspec.convert(dict(options), FakeOptions, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the fake engine's options are wrong: {error}") from error
    if found.fail_code not in {*_FAILURES, FOREIGN}:
        known = ", ".join(sorted({*_FAILURES, FOREIGN}))
        raise ConfigError(f"fail_code must be one of {known}", field="fail_code")
    if min(found.capacity, found.max_frames, found.max_side - 1, found.words + 1) < 1:
        raise ConfigError("capacity and max_frames must be at least 1, max_side 2, words 0")
    return found


class Faults:
    """Commits the faults that the options ask for."""

    def __init__(self, options: FakeOptions, pause: Callable[[float], object]) -> None:
        """`pause` lets seconds pass."""
        self._options = options
        self._pause = pause

    def strike(self, step: int) -> None:
        """Crash, hang or fail, if it is this step's turn."""
        if self._is_due(self._options.crash_at_step, step):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._is_due(self._options.hang_at_step, step):
            self._hang()
        if self._is_due(self._options.fail_at_step, step):
            raise self._failure()

    def damages(self, step: int) -> bool:
        """True when the numbers of this step are to come out damaged."""
        return self._is_due(self._options.nan_at_step, step)

    def _is_due(self, at: int, step: int) -> bool:
        return at == step and self._is_first()

    def _is_first(self) -> bool:
        """True unless the marker says that a fault has struck before; sets the marker."""
        if not self._options.fault_marker:
            return True
        try:
            Path(self._options.fault_marker).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _hang(self) -> None:
        """Never come back, and never ask the gate: only killing the process helps."""
        while True:
            self._pause(1.0)

    def _failure(self) -> Exception:
        if self._options.fail_code == FOREIGN:
            return RuntimeError("a foreign fault, as asked")
        return _FAILURES[self._options.fail_code]()
