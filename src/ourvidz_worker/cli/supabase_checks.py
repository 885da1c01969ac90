"""What `doctor` says of the application's Supabase, asked by requests that change nothing.

Rows are read, the bucket is described, and functions are asked with OPTIONS, which none of them
acts upon.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx
import msgspec

from ourvidz_worker.cli.finding import Finding, fault, warning, well

BUCKET = "workspace-temp"
KEY = "SUPABASE_SERVICE_ROLE_KEY"
SERVICE_KEY_CURE = "set the service_role key of this project"
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

#: Functions of the application that a pod calls, beside the one for callbacks.
REGISTRATION = ("update-worker-url", "register-chat-worker", "health-check-workers")


class Bucket(msgspec.Struct, frozen=True, rename={"status": "statusCode"}):
    """What is looked at of a bucket, None for no limit; or, with `status`, of a refusal."""

    public: bool = False
    allowed_mime_types: list[str] | None = None
    status: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request, and what its reply means."""

    what: str
    method: str
    path: str
    judge: "Callable[[Question, httpx.Response], Finding]"


async def check_supabase(
    url: str, key: str, timeout_s: float, *, callbacks: bool = True, registers: bool = True
) -> list[Finding]:
    """Ask everything at once; one warning when nothing answers (O-3)."""
    questions = [*ROWS, *_functions(callbacks, registers)]
    headers = {"Authorization": f"Bearer {key}", "apikey": key}
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), headers=headers, timeout=timeout_s, trust_env=False
    ) as client:
        answers = await asyncio.gather(*(_ask(client, question) for question in questions))
    if all(isinstance(answer, str) for answer in answers):
        cure = "correct SUPABASE_URL; a pod goes on, and repeats what it has to tell"
        return [warning("supabase", f"cannot be reached ({answers[0]})", cure)]
    return [_judge(question, answer) for question, answer in zip(questions, answers, strict=True)]


async def _ask(client: httpx.AsyncClient, question: Question) -> httpx.Response | str:
    """The reply; a word where there is none."""
    try:
        return await client.request(question.method, question.path)
    except httpx.HTTPError as error:
        return type(error).__name__


def _judge(question: Question, answer: httpx.Response | str) -> Finding:
    if isinstance(answer, str):
        return warning(question.what, f"no answer ({answer})", "look again when it is less busy")
    if answer.status_code in REFUSED and question.method != "OPTIONS":
        return fault(question.what, f"{KEY} is refused", SERVICE_KEY_CURE)
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        told = f"it answers {answer.status_code}"
        return warning(question.what, told, "look into the application's logs")
    return question.judge(question, answer)


def _judge_config_row(question: Question, answer: httpx.Response) -> Finding:
    if not answer.is_success:
        return fault(
            question.what, "the table cannot be read", "apply the application's migrations"
        )
    if not _rows(answer):
        told = f"row 1 is not seen: {KEY} has no rights, or there is none"
        return fault(question.what, told, SERVICE_KEY_CURE)
    return well(question.what, "row 1 is readable")


def _judge_jobs(question: Question, answer: httpx.Response) -> Finding:
    if not answer.is_success or _rows(answer) is None:
        told = "status and original_prompt cannot be read: cancelled jobs would not be noticed"
        return fault(question.what, told, "apply the application's migrations")
    return well(question.what, "readable")


def _judge_bucket(question: Question, answer: httpx.Response) -> Finding:
    try:
        bucket = msgspec.json.decode(answer.content, type=Bucket)
    except msgspec.MsgspecError:
        bucket = Bucket(status=str(answer.status_code))
    # The storage hides the true status in the body of a 400.
    if bucket.status in {"401", "403"}:
        return fault(question.what, f"{KEY} is refused", SERVICE_KEY_CURE)
    if not answer.is_success:
        return fault(question.what, "there is none", f"create the private bucket {BUCKET}")
    lacking = {"image/png", "image/webp", "video/mp4"} - set(bucket.allowed_mime_types or ())
    if bucket.allowed_mime_types is not None and lacking:
        told = f"does not take {', '.join(sorted(lacking))}"
        return fault(question.what, told, "allow these types in the bucket's settings")
    if bucket.public:
        return warning(question.what, "is public", "make it private: results are the users' own")
    return well(question.what, "there, private")


def _judge_function(question: Question, answer: httpx.Response) -> Finding:
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return fault(question.what, "the function is not deployed", "deploy it in the application")
    return well(question.what, "deployed")


ROWS = (
    Question(
        what="system_config",
        method="GET",
        path="/rest/v1/system_config?select=config&id=eq.1",
        judge=_judge_config_row,
    ),
    Question(
        what="jobs",
        method="GET",
        path="/rest/v1/jobs?select=id,status,original_prompt&limit=1",
        judge=_judge_jobs,
    ),
    Question(
        what=f"bucket {BUCKET}",
        method="GET",
        path=f"/storage/v1/bucket/{BUCKET}",
        judge=_judge_bucket,
    ),
)


def _functions(callbacks: bool, registers: bool) -> list[Question]:
    names = [*(("job-callback",) if callbacks else ()), *(REGISTRATION if registers else ())]
    return [
        Question(what=name, method="OPTIONS", path=f"/functions/v1/{name}", judge=_judge_function)
        for name in names
    ]


def _rows(answer: httpx.Response) -> list[object] | None:
    """The rows of a reply; None when it is no list."""
    try:
        return msgspec.json.decode(answer.content, type=list[object])
    except msgspec.MsgspecError:
        return None
