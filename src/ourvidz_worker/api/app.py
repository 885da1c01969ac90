"""The application of one port: the route table, and what is built from it."""

import msgspec
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from ourvidz_worker.api.address import Address
from ourvidz_worker.api.auth import Access, Keys
from ourvidz_worker.api.bodies import PICTURE_TYPES
from ourvidz_worker.api.border import Border
from ourvidz_worker.api.call import ApiSettings, Side, Site
from ourvidz_worker.api.limits import RateLimit
from ourvidz_worker.api.openai.chat_bodies import ChatCompletionBody
from ourvidz_worker.api.openai.chat_replies import ChatCompletion
from ourvidz_worker.api.openai.models import ModelCard, ModelList
from ourvidz_worker.api.openai.raw_bodies import CompletionBody
from ourvidz_worker.api.openai.raw_replies import Completion
from ourvidz_worker.api.openapi import Json, build_document
from ourvidz_worker.api.ports import Desks
from ourvidz_worker.api.routes import assets, completions, dead, legacy, models, ops
from ourvidz_worker.api.routes import jobs as job_routes
from ourvidz_worker.api.routes import memory as memory_routes
from ourvidz_worker.api.routes import texts as text_routes
from ourvidz_worker.api.row import Row
from ourvidz_worker.api.text_bodies import InputsBody, MessagesBody, PromptBody
from ourvidz_worker.api.text_replies import ChatReply, EnhanceReply, PromptReply
from ourvidz_worker.api.views import Accepted, JobList, JobView, Reference
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import (
    AttemptError,
    BadReference,
    Conflict,
    DeadlinePassed,
    InvalidPrompt,
    ModelLoadFailed,
    NotFound,
    OutOfMemory,
    QueueUnavailable,
    RequestError,
    Unavailable,
    UploadFailed,
)
from ourvidz_worker.domain.memory import MemoryReport, MemoryStatus, OperationReply
from ourvidz_worker.domain.receipt import Receipt

MAIN_TYPES = ("image/png", "video/mp4")
EVENTS = "text/event-stream"
JOB = "/v1/jobs/{job_id}"
ASSET = f"{JOB}/assets/{{index}}"

TEXT_PROBLEMS = (InvalidPrompt, Unavailable, OutOfMemory, DeadlinePassed, AttemptError)
JOB_PROBLEMS = (Conflict, InvalidPrompt, QueueUnavailable)
AGAIN_PROBLEMS = (NotFound, Conflict, QueueUnavailable)
FILE_PROBLEMS = (NotFound, QueueUnavailable)
MOVE_PROBLEMS = (Conflict, OutOfMemory, ModelLoadFailed)


INFO = {200: (legacy.WorkerInfo,)}

#: Every route of both ports. From here come the addresses, their Allow headers and the document.
ROWS: tuple[Row, ...] = (
    Row("GET", "/", legacy.welcome, Access.PUBLIC, replies={200: (legacy.Welcome,)}),
    Row(
        "GET",
        "/health",
        ops.health,
        Access.HEALTH,
        replies={200: (ops.HealthReply,), 503: (ops.HealthReply,)},
    ),
    Row("GET", "/worker/info", legacy.worker_info, Access.PUBLIC, replies=INFO),
    Row("GET", "/info", legacy.worker_info, Access.PUBLIC, replies=INFO),
    Row("GET", "/status", legacy.worker_info, Access.PUBLIC, replies=INFO),
    Row("GET", "/api/status", legacy.worker_info, Access.PUBLIC, replies=INFO),
    Row(
        "POST",
        "/chat",
        text_routes.chat,
        Access.INFERENCE,
        bodies=(MessagesBody,),
        replies={200: (ChatReply, EVENTS)},
        problems=TEXT_PROBLEMS,
    ),
    Row(
        "POST",
        "/enhance",
        text_routes.enhance,
        Access.INFERENCE,
        bodies=(MessagesBody, PromptBody),
        replies={200: (EnhanceReply, PromptReply, EVENTS)},
        problems=TEXT_PROBLEMS,
    ),
    Row(
        "POST",
        "/generate",
        text_routes.generate,
        Access.INFERENCE,
        bodies=(MessagesBody, InputsBody),
        replies={200: (ChatReply, EVENTS)},
        problems=TEXT_PROBLEMS,
    ),
    Row(
        "POST",
        "/v1/chat/completions",
        completions.chat,
        Access.INFERENCE,
        bodies=(ChatCompletionBody,),
        replies={200: (ChatCompletion, EVENTS)},
        problems=TEXT_PROBLEMS,
    ),
    Row(
        "POST",
        "/v1/completions",
        completions.continue_texts,
        Access.INFERENCE,
        bodies=(CompletionBody,),
        replies={200: (Completion, EVENTS)},
        problems=TEXT_PROBLEMS,
    ),
    Row("GET", "/v1/models", models.listing, Access.INFERENCE, replies={200: (ModelList,)}),
    Row(
        "GET",
        "/v1/models/{model}",
        models.show,
        Access.INFERENCE,
        replies={200: (ModelCard,)},
        problems=(NotFound,),
    ),
    Row(
        "GET",
        "/v1/jobs",
        job_routes.listing,
        Access.KEY,
        query=job_routes.JobsQuery,
        replies={200: (JobList,)},
        problems=(QueueUnavailable,),
    ),
    Row(
        "POST",
        "/v1/jobs",
        job_routes.create,
        Access.KEY,
        bodies=(job_routes.JobBody,),
        replies={202: (Accepted,)},
        problems=JOB_PROBLEMS,
    ),
    Row(
        "PUT",
        JOB,
        job_routes.put,
        Access.KEY,
        bodies=(job_routes.JobBody,),
        replies={202: (Accepted,), 200: (Accepted,)},
        problems=JOB_PROBLEMS,
    ),
    Row("GET", JOB, job_routes.show, Access.KEY, replies={200: (JobView,)}, problems=FILE_PROBLEMS),
    Row(
        "DELETE",
        JOB,
        job_routes.cancel,
        Access.KEY,
        replies={202: (Accepted,)},
        problems=AGAIN_PROBLEMS,
    ),
    Row(
        "GET",
        f"{JOB}/events",
        job_routes.events,
        Access.KEY,
        replies={200: (EVENTS,)},
        problems=(RequestError, *FILE_PROBLEMS),
        streams=True,
    ),
    Row(
        "GET",
        ASSET,
        assets.main_file,
        Access.KEY,
        replies={200: MAIN_TYPES, 304: ()},
        problems=FILE_PROBLEMS,
    ),
    Row(
        "GET",
        f"{ASSET}/thumbnail",
        assets.thumbnail,
        Access.KEY,
        replies={200: (assets.PREVIEW_TYPE,)},
        problems=FILE_PROBLEMS,
    ),
    Row(
        "GET",
        f"{JOB}/preview",
        assets.preview,
        Access.KEY,
        replies={200: (assets.PREVIEW_TYPE,)},
        problems=FILE_PROBLEMS,
    ),
    Row(
        "GET",
        f"{JOB}/receipt",
        assets.receipt,
        Access.KEY,
        replies={200: (Receipt,)},
        problems=FILE_PROBLEMS,
    ),
    Row(
        "POST",
        "/v1/references",
        assets.keep_reference,
        Access.KEY,
        bodies=PICTURE_TYPES,
        query=assets.ReferenceQuery,
        replies={201: (Reference,)},
        problems=(BadReference, UploadFailed),
    ),
    Row(
        "GET",
        "/v1/dead",
        dead.letters,
        Access.KEY,
        query=dead.DeadQuery,
        replies={200: (dead.LetterList,)},
        problems=(QueueUnavailable,),
    ),
    Row(
        "POST",
        "/v1/dead/{letter_id}/replay",
        dead.replay,
        Access.KEY,
        replies={202: (dead.Replayed,)},
        problems=AGAIN_PROBLEMS,
    ),
    Row(
        "GET",
        "/v1/callbacks/dead",
        dead.callbacks,
        Access.KEY,
        query=dead.DeadQuery,
        replies={200: (dead.DeadCallbackList,)},
        problems=(QueueUnavailable,),
    ),
    Row(
        "POST",
        "/v1/callbacks/dead/{callback_id}/replay",
        dead.revive,
        Access.KEY,
        replies={202: (dead.Revived,)},
        problems=AGAIN_PROBLEMS,
    ),
    Row(
        "POST",
        "/memory/load",
        memory_routes.load,
        Access.KEY,
        bodies=(memory_routes.MoveBody,),
        query=memory_routes.MoveBody,
        body_optional=True,
        replies={200: (memory_routes.Moved,)},
        problems=MOVE_PROBLEMS,
    ),
    Row(
        "POST",
        "/memory/unload",
        memory_routes.unload,
        Access.KEY,
        bodies=(memory_routes.MoveBody,),
        query=memory_routes.MoveBody,
        body_optional=True,
        replies={200: (memory_routes.Moved,)},
        problems=MOVE_PROBLEMS,
    ),
    Row(
        "GET",
        "/memory/status",
        memory_routes.status,
        Access.PUBLIC,
        replies={200: (MemoryStatus,)},
        problems=(Unavailable,),
    ),
    Row("GET", "/memory/report", memory_routes.report, Access.KEY, replies={200: (MemoryReport,)}),
    Row(
        "POST",
        "/emergency/operation",
        memory_routes.operate,
        Access.KEY,
        bodies=(memory_routes.OperationBody,),
        replies={200: (OperationReply,)},
        problems=(*MOVE_PROBLEMS, Unavailable),
    ),
    Row(
        "GET",
        "/debug/model",
        memory_routes.debug_model,
        Access.KEY,
        replies={200: (memory_routes.DebugModel,)},
    ),
    Row("GET", "/openapi.json", ops.openapi, Access.KEY, replies={200: ("application/json",)}),
    Row("GET", "/metrics", ops.metrics, Access.KEY, replies={200: ("text/plain",)}),
)


def make_app(
    *,
    side: Side,
    desks: Desks,
    keys: Keys,
    clock: Clock,
    settings: ApiSettings,
) -> Border:
    """The ASGI application of one port; both ports serve every route (H-2)."""
    site = Site(
        side=side,
        jobs=desks.jobs,
        texts=desks.texts,
        memory=desks.memory,
        dead=desks.dead,
        pod=desks.pod,
        keys=keys,
        limit=RateLimit(
            clock,
            per_minute=settings.requests_per_minute,
            concurrent=settings.concurrent_requests,
        ),
        clock=clock,
        settings=settings,
        endpoints=tuple(dict.fromkeys(row.path for row in ROWS)),
        document=msgspec.json.encode(openapi_document(settings.version)),
    )
    rows_at: dict[str, list[Row]] = {}
    for row in ROWS:
        rows_at.setdefault(row.path, []).append(row)
    routes = [Route(path, endpoint=Address(rows, site)) for path, rows in rows_at.items()]
    return Border(Router(routes, redirect_slashes=False, default=_nothing_here))


def openapi_document(version: str) -> Json:
    """The description of the interface (OpenAPI 3.1); needs no running server."""
    return build_document(ROWS, version)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound
