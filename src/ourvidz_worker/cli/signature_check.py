"""Whether the application takes our signature: one signed callback that names no job.

Without a job's id there is nothing that the function could change; it looks at the signature
before it looks for the id.
"""

from http import HTTPStatus

import httpx

from ourvidz_worker.callbacks import Signer
from ourvidz_worker.cli.finding import Finding, fault, warning, well
from ourvidz_worker.clock import Clock

EMPTY = b"{}"
SECRET = "JOB_CALLBACK_SECRET"  # noqa: S105 - the variable's name
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


async def check_signature(
    address: str, signer: Signer, clock: Clock, timeout_s: float
) -> list[Finding]:
    """Post it to `address`; a refusal says that the secrets of both sides differ."""
    headers = signer.headers(EMPTY, job_id="doctor", status="none", at=clock.now())
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            answer = await client.post(address, content=EMPTY, headers=headers)
    except httpx.HTTPError as error:
        told = f"no answer ({type(error).__name__})"
        return [warning("signature", told, "look again when callbacks can be received")]
    if answer.status_code in REFUSED:
        cure = f"set {SECRET} to the value in the application's secrets"
        return [fault("signature", f"is refused ({answer.status_code})", cure)]
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        cure = f"set {SECRET} in the application's secrets too; see its logs"
        return [warning("signature", f"it answers {answer.status_code}", cure)]
    return [well("signature", "not refused")]
