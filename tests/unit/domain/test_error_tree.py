"""The error tree: as drawn, with the contract's codes, and fit to be shown to users."""

import re
from collections.abc import Iterator

import pytest

from ourvidz_worker.domain import errors
from ourvidz_worker.domain.errors import BadReference, OurvidzError, StopRequested

FORBIDDEN = ("inf", "nan", "probability tensor", "content policy", "inappropriate")
CONTRACT_CODES = {
    "OOM_ERROR",
    "MODEL_LOAD_ERROR",
    "INVALID_PROMPT",
    "WORKER_UNAVAILABLE",
    "TIMEOUT_ERROR",
    "REFERENCE_FRAME_ERROR",
    "I2I_PIPELINE_ERROR",
    "THUMBNAIL_GENERATION_ERROR",
    "INVALID_REQUEST",
    "GENERATION_ERROR",
    "UPLOAD_ERROR",
    "UNAUTHORIZED",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "CONFLICT",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "RATE_LIMITED",
    "INTERNAL_ERROR",
}


def classes(root: type[OurvidzError] = OurvidzError, depth: int = 0) -> Iterator[tuple[int, type]]:
    yield depth, root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child, depth + 1)


def test_the_drawing_is_the_tree() -> None:
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        row = re.match(r"^    ([│├└─ ]*)(\w+) ([A-Z][A-Z0-9_]+)(\*?)( |$)", line)
        if row:
            branch, name, code, star, _ = row.groups()
            drawn.append((len(branch) // 4, name, code, bool(star)))
    real = [
        (depth, kind.__name__, kind.code, kind.retryable)
        for depth, kind in classes()
        if issubclass(kind, OurvidzError)
    ]
    assert drawn == real


@pytest.mark.parametrize("kind", [kind for _, kind in classes()])
def test_a_class_docstring_is_fit_for_users(kind: type[OurvidzError]) -> None:
    sentence = " ".join((kind.__doc__ or "").split())
    assert sentence.endswith(".")
    assert len(sentence) <= 200
    assert not [word for word in FORBIDDEN if word in sentence.lower()]


def test_the_contract_finds_a_class_for_each_of_its_codes() -> None:
    assert {kind.code for _, kind in classes() if issubclass(kind, OurvidzError)} == (
        CONTRACT_CODES | {"CONFIG_ERROR"}
    )


def test_the_sentence_defaults_to_the_docstring() -> None:
    assert errors.Refused().sentence == "The request was refused by the admission rules."
    assert errors.RequestError("No.", field="x").field == "x"


@pytest.mark.parametrize(
    ("reason", "may_retry"), [("REFERENCE_TIMEOUT", True), ("REFERENCE_NOT_FOUND", False)]
)
def test_a_references_reason_decides_whether_to_try_again(reason: str, may_retry: bool) -> None:
    assert BadReference(reason=reason).may_retry is may_retry


def test_a_stop_is_not_swallowed_by_except_exception() -> None:
    assert not issubclass(StopRequested, Exception)
    assert StopRequested("cancelled").reason == "cancelled"
