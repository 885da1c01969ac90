"""The application's server side: it makes rows, signs references, pushes elements, cancels.

It speaks HTTP to the emulator and SQL to its database, so that it works as well beside an emulator
in another process. `push` is `RPUSH` in whatever way the test reaches its Redis.
"""

from collections.abc import Callable
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ourvidz_worker.testing.supabase.elements import (
    Encode,
    as_array_of_string,
    as_object,
    list_of,
)
from ourvidz_worker.testing.supabase.faults import Call, Fault
from ourvidz_worker.testing.supabase.payloads import Payload
from ourvidz_worker.testing.supabase.serving import SupabaseEmulator
from ourvidz_worker.testing.supabase.state import Keys

Push = Callable[[str, str], object]
"""List and element; what it returns is not looked at."""

SIGNED_S = 3600
"""How long the application's signed addresses live (R-3)."""

OBJECT = "/storage/v1/object"


class Application:
    """One application, its emulator at `url` and its database at `address`."""

    def __init__(self, url: str, address: str, keys: Keys, push: Push) -> None:
        """Connect to the database; close the application at the end."""
        self._push = push
        self._revision = keys.revision
        self._http = httpx.Client(
            base_url=url,
            trust_env=False,
            timeout=30.0,
            headers={"Authorization": f"Bearer {keys.service}", "apikey": keys.service},
        )
        self._rows = psycopg.connect(address, autocommit=True, row_factory=dict_row)

    @classmethod
    def of(cls, emulator: SupabaseEmulator, push: Push) -> Self:
        """The application over an emulator of this process."""
        return cls(emulator.url, emulator.address, emulator.state.keys, push)

    def close(self) -> None:
        """Let both connections go."""
        self._http.close()
        self._rows.close()

    def reference(self, user_id: str, data: bytes, media_type: str = "image/png") -> str:
        """Upload a picture to the user's library and sign its address for an hour."""
        name = f"user-library/{user_id}/{uuid4()}"
        self.upload(name, data, media_type)
        return self.sign(name)

    def upload(self, name: str, data: bytes, media_type: str) -> None:
        """Store an object as `bucket/key`."""
        headers = {"Content-Type": media_type, "x-upsert": "true"}
        path = f"{OBJECT}/{quote(name)}"
        self._http.post(path, content=data, headers=headers).raise_for_status()

    def sign(self, name: str, seconds: float = SIGNED_S) -> str:
        """A signed address of an object."""
        path = f"{OBJECT}/sign/{quote(name)}"
        reply = self._http.post(path, json={"expiresIn": seconds}).raise_for_status()
        base = str(self._http.base_url).rstrip("/")
        return f"{base}/storage/v1{reply.json()['signedURL']}"

    def submit(self, payload: Payload, *, encode: Encode | None = None, row: bool = True) -> str:
        """Make the job's row and push its element as this revision does; returns the job's id.

        Chat jobs have no row whatever `row` says (J-2).
        """
        job_type = str(payload.get("type") or payload["job_type"])
        queue = list_of(job_type)
        if row and queue != "chat_queue":
            self.insert(payload, job_type)
        usual = as_object if self._revision == "C1" else as_array_of_string
        self._push(queue, (encode or usual)(payload))
        return str(payload["id"])

    def insert(self, payload: Payload, job_type: str) -> None:
        """The row alone, queued."""
        self._rows.execute(
            "INSERT INTO jobs (id, user_id, job_type, prompt, original_prompt, metadata)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (
                payload["id"],
                payload["user_id"],
                job_type,
                payload["prompt"],
                payload["prompt"] or None,
                Jsonb(payload.get("metadata") or {}),
            ),
        )

    def cancel(self, job_id: str) -> None:
        """What the user's button does: the row changes, the element stays (K-20)."""
        self._rows.execute("UPDATE jobs SET status = 'cancelled' WHERE id = %s", (job_id,))

    def reopen(self, job_id: str) -> None:
        """What an operator does before a job that failed is worked once more (K-20)."""
        self._rows.execute("UPDATE jobs SET status = 'queued' WHERE id = %s", (job_id,))

    def row(self, job_id: str) -> dict[str, Any]:
        """The job's row."""
        found = self._rows.execute("SELECT * FROM jobs WHERE id = %s", (job_id,)).fetchone()
        assert found is not None, f"there is no row of {job_id}"
        return found

    def statuses(self) -> dict[str, str]:
        """Job to status, of every row."""
        rows = self._rows.execute("SELECT id, status FROM jobs").fetchall()
        return {row["id"]: row["status"] for row in rows}

    def assets(self, job_id: str) -> list[dict[str, Any]]:
        """The job's assets by index."""
        query = "SELECT * FROM workspace_assets WHERE job_id = %s ORDER BY asset_index"
        return self._rows.execute(query, (job_id,)).fetchall()

    def config(self) -> dict[str, Any]:
        """The configuration row."""
        found = self._rows.execute("SELECT config FROM system_config").fetchone()
        assert found is not None, "the configuration row is gone"
        config: dict[str, Any] = found["config"]
        return config

    def set_config(self, config: dict[str, Any]) -> None:
        """Write the whole row, as another writer of it does."""
        self._rows.execute("UPDATE system_config SET config = %s", (Jsonb(config),))

    def objects(self) -> list[str]:
        """The names of all objects, as `bucket/key`."""
        return [str(name) for name in self._http.get("/_control/objects").json()]

    def object(self, name: str) -> bytes:
        """An object's bytes."""
        return self._http.get(f"{OBJECT}/{quote(name)}").raise_for_status().content

    def calls(self, name: str = "", *, part: str = "") -> list[Call]:
        """The calls that the emulator has seen: of that name, with `part` in path or body."""
        params = {"name": name, "part": part}
        reply = self._http.get("/_control/calls", params=params).raise_for_status()
        return msgspec.json.decode(reply.content, type=list[Call])

    def callbacks(self, job_id: str | None = None, *, answered: bool = False) -> list[Payload]:
        """The callbacks that came in, in order; with `answered` those alone that had an effect."""
        found = self.calls("job-callback", part=job_id or "")
        calls = [call for call in found if call.executed or not answered]
        bodies: list[Payload] = [msgspec.json.decode(call.body) for call in calls]
        return [body for body in bodies if job_id in {None, body.get("job_id")}]

    def complaints(self) -> list[str]:
        """What a real application would have suffered from."""
        return [str(line) for line in self._http.get("/_control/complaints").json()]

    def add_fault(self, fault: Fault) -> None:
        """Let a fault happen."""
        body = msgspec.json.encode(fault)
        self._http.post("/_control/faults", content=body).raise_for_status()

    def clear_faults(self) -> None:
        """Let everything work again."""
        self._http.delete("/_control/faults").raise_for_status()
