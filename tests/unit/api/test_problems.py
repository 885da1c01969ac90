"""Problems: a status for every error, one form, and none of the forbidden words."""

import json
from uuid import uuid4

import pytest

from ourvidz_worker.api.problems import (
    FORBIDDEN,
    KINDS,
    MEDIA_TYPE,
    is_speakable,
    kind_of,
    openai_problem_of,
    problem_of,
    problem_response,
    speaks_openai,
)
from ourvidz_worker.domain import errors
from ourvidz_worker.domain.errors import (
    BadReference,
    Conflict,
    DeadlinePassed,
    ImageToImageFailed,
    InvalidPrompt,
    MethodNotAllowed,
    ModelLoadFailed,
    NotFound,
    OurvidzError,
    OutOfMemory,
    PayloadTooLarge,
    RateLimited,
    Refused,
    RequestError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UploadFailed,
)

REQUEST_ID = str(uuid4())


def classes() -> list[type[OurvidzError]]:
    """Every class of the tree."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, OurvidzError)]


def an_error(kind: type[OurvidzError]) -> OurvidzError:
    """One of that class."""
    return BadReference(reason="REFERENCE_TIMEOUT") if kind is BadReference else kind()


def body_of(error: OurvidzError) -> str:
    """The body that tells it."""
    return bytes(problem_response(error, REQUEST_ID).body).decode()


def test_every_class_has_a_row_of_its_own() -> None:
    assert set(KINDS) == set(classes())


@pytest.mark.parametrize(
    ("kind", "status", "code", "retryable"),
    [
        (OutOfMemory, 503, "OOM_ERROR", True),
        (ModelLoadFailed, 503, "MODEL_LOAD_ERROR", True),
        (InvalidPrompt, 422, "INVALID_PROMPT", False),
        (Refused, 422, "INVALID_PROMPT", False),
        (Unavailable, 503, "WORKER_UNAVAILABLE", True),
        (DeadlinePassed, 504, "TIMEOUT_ERROR", True),
        (BadReference, 422, "REFERENCE_FRAME_ERROR", True),
        (ImageToImageFailed, 500, "I2I_PIPELINE_ERROR", False),
        (RequestError, 400, "INVALID_REQUEST", False),
        (errors.AttemptError, 500, "GENERATION_ERROR", True),
        (UploadFailed, 502, "UPLOAD_ERROR", True),
        (Unauthorized, 401, "UNAUTHORIZED", False),
        (NotFound, 404, "NOT_FOUND", False),
        (MethodNotAllowed, 405, "METHOD_NOT_ALLOWED", False),
        (Conflict, 409, "CONFLICT", True),
        (PayloadTooLarge, 413, "PAYLOAD_TOO_LARGE", False),
        (UnsupportedMediaType, 415, "UNSUPPORTED_MEDIA_TYPE", False),
        (RateLimited, 429, "RATE_LIMITED", True),
        (OurvidzError, 500, "INTERNAL_ERROR", True),
    ],
)
def test_each_code_has_the_contracts_status(
    kind: type[OurvidzError], status: int, code: str, retryable: bool
) -> None:
    """11: code, status and retryable."""
    problem = problem_of(an_error(kind), REQUEST_ID)
    assert (problem.status, problem.code, problem.retryable) == (status, code, retryable)


def test_a_problem_has_every_member() -> None:
    """H-20."""
    told = json.loads(body_of(RequestError("The field top_p must be less.", field="top_p")))
    assert told == {
        "type": "urn:ourvidz:problem:invalid_request",
        "title": "Invalid request",
        "status": 400,
        "detail": "The field top_p must be less.",
        "instance": f"urn:uuid:{REQUEST_ID}",
        "success": False,
        "error": "The field top_p must be less.",
        "code": "INVALID_REQUEST",
        "retryable": False,
        "request_id": REQUEST_ID,
        "field": "top_p",
    }


def test_clients_of_openai_find_the_sentence_inside() -> None:
    """H-20, in the shape that OpenAI's clients read: all members, the sentence in `error`."""
    error = RequestError("The field top_p must be less.", field="top_p")
    own = json.loads(body_of(error))
    told = json.loads(bytes(problem_response(error, REQUEST_ID, path="/v1/completions").body))
    assert told.pop("error") == {
        "message": own.pop("error"),
        "type": "invalid_request_error",
        "param": "top_p",
        "code": "INVALID_REQUEST",
    }
    assert told == own


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unauthorized(), "authentication_error"),
        (RateLimited(), "rate_limit_error"),
        (NotFound(), "invalid_request_error"),
        (InvalidPrompt(), "invalid_request_error"),
        (Unavailable(), "server_error"),
    ],
)
def test_the_kinds_of_errors_in_openais_words(error: OurvidzError, kind: str) -> None:
    told = openai_problem_of(error, REQUEST_ID)
    assert (told.error.type, told.error.param, told.error.message) == (kind, None, told.detail)


def test_which_addresses_speak_openai() -> None:
    for path in ("/v1/models", "/v1/models/x", "/v1/completions", "/v1/chat/completions"):
        assert speaks_openai(path)
    for path in ("/v1/jobs", "/v1/modelsx", "/chat", "/v1", ""):
        assert not speaks_openai(path)


def test_a_bad_reference_tells_its_reason() -> None:
    told = json.loads(body_of(BadReference(reason="REFERENCE_NOT_FOUND")))
    assert (told["error_reason"], told["retryable"]) == ("REFERENCE_NOT_FOUND", False)


@pytest.mark.parametrize("kind", classes())
def test_no_body_holds_a_forbidden_word(kind: type[OurvidzError]) -> None:
    """H-22, §12 line 39."""
    body = body_of(an_error(kind)).lower()
    assert [word for word in FORBIDDEN if word in body] == []


@pytest.mark.parametrize("kind", classes())
def test_every_class_speaks_for_itself(kind: type[OurvidzError]) -> None:
    sentence = an_error(kind).sentence
    assert problem_of(an_error(kind), REQUEST_ID).detail == sentence.partition("\n")[0]
    assert is_speakable(sentence)


@pytest.mark.parametrize("word", ["inference", "NaN", "Probability Tensor", "content policy"])
def test_a_forbidden_sentence_gives_way_to_the_class(word: str) -> None:
    problem = problem_of(RequestError(f"It has {word} in it.", field=f"config.{word}"), REQUEST_ID)
    assert problem.detail == RequestError.__doc__
    assert not isinstance(problem.field, str)


def test_a_contract_name_with_a_forbidden_word_is_told_by_its_alias() -> None:
    error = RequestError(
        "config.num_inference_steps must be 1..100.", field="config.num_inference_steps"
    )
    problem = problem_of(error, REQUEST_ID)
    assert (problem.detail, problem.field) == ("config.steps must be 1..100.", "config.steps")


def test_a_class_that_cannot_speak_is_given_a_sentence() -> None:
    class Broken(OurvidzError):
        """The inference of the finance information failed."""

    assert problem_of(Broken(), REQUEST_ID).detail == "The request could not be served."
    assert kind_of(Broken) is KINDS[OurvidzError]


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (Unauthorized(), "www-authenticate", "Bearer"),
        (MethodNotAllowed(allow="GET, HEAD"), "allow", "GET, HEAD"),
        (RateLimited(retry_after_s=1.2), "retry-after", "2"),
        (RateLimited(), "retry-after", "5"),
        (Unavailable(retry_after_s=0), "retry-after", "1"),
        (OutOfMemory(), "retry-after", "5"),
    ],
)
def test_some_replies_have_headers(error: OurvidzError, name: str, value: str) -> None:
    reply = problem_response(error, REQUEST_ID)
    assert reply.headers[name] == value
    assert reply.headers["content-type"] == MEDIA_TYPE


def test_facts_are_told_to_nobody() -> None:
    """H-4, H-21."""
    assert "/secret/place" not in body_of(OurvidzError(cause="/secret/place"))
