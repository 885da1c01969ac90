"""Job rows in the application's Supabase: read to learn of cancels, written once (K-13, K-20)."""

import logging

import httpx

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.rows import RowsSettings, RowState
from ourvidz_worker.supabase.client import Ask, SupabaseClient
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

JOBS = "/rest/v1/jobs"
CONFIG = "/rest/v1/system_config"

PATIENCE_S = 10.0
"""Of one look-up; a job is looked up every 5 s, and a slow answer is only a late one."""

REPAIR = {"original_prompt": "exact copy"}
REPAIRED = 'The empty original_prompt of this job was set to "exact copy".'
NOT_REPAIRED = "The empty original_prompt of this job could not be filled."
NOT_READ = "The original_prompt of this job could not be read."


class SupabaseRows:
    """The rows of the application, read and repaired with its service key."""

    def __init__(
        self,
        settings: RowsSettings,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is asked yet. Raises `ConfigError` for a wrong URL."""
        self._client = SupabaseClient(settings.url, settings.key, clock, transport=transport)
        self._repairs = settings.repairs

    async def state(self, job_id: str) -> RowState:
        """How the job's row stands; `MISSING` once the same key has read another row (K-20)."""
        rows = await self._read(JOBS, "status", job_id)
        if rows is None:
            return RowState.UNKNOWN
        if not rows:
            return RowState.MISSING if await self._may_read() else RowState.UNKNOWN
        try:
            return RowState(str(rows[0].get("status")))
        except ValueError:
            return RowState.UNKNOWN

    async def repair_prompt(self, job_id: str) -> str | None:
        """Fill an empty original prompt; what was done, or could not be, is the warning (K-13)."""
        if not self._repairs:
            return None
        rows = await self._read(JOBS, "original_prompt", job_id)
        if rows is None:
            return NOT_READ
        if not rows or rows[0].get("original_prompt") not in {None, ""}:
            return None
        if not await self._repair(job_id):
            return NOT_REPAIRED
        log.info("row repaired", extra={"action": Action.ROW_REPAIRED, "job_id": job_id})
        return REPAIRED

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _may_read(self) -> bool:
        """True when the key reads the one row that is always there."""
        return bool(await self._read(CONFIG, "id", "1"))

    async def _repair(self, job_id: str) -> bool:
        ask = Ask(
            method="PATCH",
            path=JOBS,
            params={"id": f"eq.{job_id}"},
            json=REPAIR,
            within_s=PATIENCE_S,
        )
        try:
            reply = await self._client.send(ask)
        except Unavailable as error:
            _note("row not repaired", job_id, error.facts.get("cause"))
            return False
        if not reply.is_success:
            _note("row not repaired", job_id, f"status {reply.status}")
        return reply.is_success

    async def _read(self, path: str, column: str, row_id: str) -> list[dict[str, object]] | None:
        """The rows of that id, at most one; None when nobody could say."""
        ask = Ask(
            method="GET",
            path=path,
            params={"select": column, "id": f"eq.{row_id}"},
            within_s=PATIENCE_S,
        )
        try:
            reply = await self._client.send(ask)
        except Unavailable as error:
            _note("row not read", row_id, error.facts.get("cause"))
            return None
        rows = reply.json()
        if not reply.is_success or not isinstance(rows, list):
            _note("row not read", row_id, f"status {reply.status}")
            return None
        return [row for row in rows if isinstance(row, dict)]


def _note(event: str, row_id: str, cause: object) -> None:
    log.warning(event, extra={"action": Action.ROW_UNKNOWN, "job_id": row_id, "cause": cause})
