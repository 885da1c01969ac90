"""What a text engine is given: a model, the ids that end a text, its share of a machine."""

from collections.abc import Mapping
from pathlib import Path

import msgspec


class TextSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one text engine, the same for every kind.

    `model` is a folder of the Hugging Face layout; a text ends before any of `ends`; `context` is
    the most tokens that a text may have, its prompt included; `capacity` is how many texts run at
    once, more of them wait in order. `options` are an engine's own, named in its module.
    """

    model: Path
    ends: frozenset[int]
    context: int
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    memory_fraction: float | None = None
    capacity: int = 64
    options: Mapping[str, str | int | float | bool] = {}
