"""What the log is told of a job's work: figures, digests, and a text only on request (O-8)."""

from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.request import ChatRequest, ImageRequest, Request, VideoRequest
from ourvidz_worker.queue import Settlement
from ourvidz_worker.telemetry.redaction import prompt_fields

AS_GIVEN = "no template override"
"""Every text reaches its model as its caller wrote it."""


def fields_of(request: Request | None, *, whole: bool = False) -> dict[str, object]:
    """What is logged when work on a request begins; `whole` lets its text in."""
    if isinstance(request, ChatRequest):
        system = "".join(one.content for one in request.messages if one.role == "system")
        user = "".join(one.content for one in request.messages if one.role == "user")
        user = user if request.text is None else request.text
        return {
            "job_type": request.job_type,
            "messages": len(request.messages),
            "system_chars": len(system),
            "user_chars": len(user),
            "max_tokens": request.sampling.max_tokens,
            "template": AS_GIVEN,
            **prompt_fields(user, whole=whole),
        }
    if isinstance(request, ImageRequest | VideoRequest):
        return {"job_type": request.job_type, **prompt_fields(request.prompt, whole=whole)}
    return {} if request is None else {"job_type": request.job_type}


def took_of(end: Settlement) -> dict[str, object]:
    """What is logged when a job has ended: how long it took, and how many tokens a text has."""
    took: dict[str, object] = {"duration_s": end.facts.get("processing_time")}
    tokens = [
        asset.metadata.get("tokens_generated") for asset in end.assets if asset.media is Media.TEXT
    ]
    return took | ({"tokens": tokens[0]} if tokens else {})
