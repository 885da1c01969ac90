"""What a check has found: a fact, a warning or a fault, with its cure."""

from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report; `cure` says what to do about a warning or a failure."""

    level: Level
    what: str
    told: str
    cure: str = ""


def well(what: str, told: str) -> Finding:
    """Nothing to do."""
    return Finding(level="ok", what=what, told=told)


def warning(what: str, told: str, cure: str) -> Finding:
    """It runs, with less than could be had."""
    return Finding(level="warn", what=what, told=told, cure=cure)


def fault(what: str, told: str, cure: str) -> Finding:
    """It does not run."""
    return Finding(level="fail", what=what, told=told, cure=cure)
