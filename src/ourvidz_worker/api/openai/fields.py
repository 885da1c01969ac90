"""Fields that both kinds of completion have, and those that are not served."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from ourvidz_worker.api.bodies import JsonObject
from ourvidz_worker.api.text_bodies import (
    MAX_SEED,
    MODEL_NAMES,
    MODELS,
    Flag,
    Model,
    Name,
    SamplingBody,
)
from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.request import ChatRequest

MOST_CHOICES = 8
"""Texts that one call may ask for; each takes a place of its own among those that run."""

Count = Annotated[
    int,
    Meta(ge=1, le=MOST_CHOICES, description=f"a whole number from 1 to {MOST_CHOICES}"),
]
Likeliest = Annotated[int, Meta(ge=0, le=20, description="a whole number from 0 to 20")]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream tells beside the text."""

    include_usage: Flag | None = None


class CompletionFields(SamplingBody, frozen=True, kw_only=True):
    """What both kinds of completion take; further fields of OpenAI's are tolerated."""

    model: Name | None = None
    n: Count | None = None
    stream: Flag | None = None
    stream_options: Annotated[StreamOptions, Meta(description="an object")] | None = None

    @property
    def include_usage(self) -> bool:
        """True when a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


def model_of(name: str | None, default: str, known: Mapping[str, Model]) -> Model:
    """The model by one of the contract's names, or of the models' own (in lower case)."""
    folded = (name or default).lower()
    found = MODELS.get(folded) or known.get(folded)
    if found is None:
        raise RequestError(f"The field model must be {MODEL_NAMES}.", field="model")
    return found


def attempts(request: ChatRequest, count: int) -> Iterator[ChatRequest]:
    """The request `count` times; with a seed, each has the next one."""
    seed = request.sampling.seed
    if seed is not None and seed + count - 1 > MAX_SEED:
        raise RequestError("The field seed leaves no room for so many texts.", field="seed")
    for number in range(count):
        drawn = None if seed is None else seed + number
        sampling = msgspec.structs.replace(request.sampling, seed=drawn)
        yield msgspec.structs.replace(request, sampling=sampling)


def refuse_others(body: JsonObject, harmless: Mapping[str, tuple[bytes, ...]]) -> None:
    """Refuse a field whose value (JSON without spaces) is none of its `harmless` ones.

    It would change the answer, so it is not passed over (P-2); null counts as absent.
    """
    for field, values in harmless.items():
        given = b"".join(bytes(body.fields.get(field, b"null")).split())
        if given not in {b"null", *values}:
            raise RequestError(f"The field {field} is not served here; leave it out.", field=field)
