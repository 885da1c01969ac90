"""The two worlds that a job lives in: a pod by itself, and a pod beside the application.

Pods, Redis, the application's side and its database are processes of their own. A test speaks of
what a caller does and sees; how that is done in each world is told here and nowhere else.
"""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
from tests.contract.never_again.receiver import Receiver

from ourvidz_worker.testing.deployment import FAKE, WORKER_KEY, Deployment, deployment
from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.supabase import Application, Fault
from ourvidz_worker.testing.supabase.payloads import Payload, Seed

PATIENCE_S = 30.0
LOOK_S = 0.05
ENDS = frozenset({"completed", "failed"})
USER = "user-1"
SECRET = "callback-secret-of-the-pod"
QUICK = '{"steps_s": 0.01}'
BUCKET = "workspace-temp"


@dataclass(frozen=True, kw_only=True)
class Told:
    """One callback that was taken: its bytes, and the headers by lower-case name."""

    body: Payload
    raw: bytes
    headers: Mapping[str, str]
    at: float


def until(holds: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:  # noqa: ANN401
    """What `holds` gives once that is true; asked again and again, each time for real."""
    deadline = time.monotonic() + within_s  # noqa: TID251 - real processes, real time
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came"  # noqa: TID251
        time.sleep(LOOK_S)  # noqa: TID251
    return found


def seed(**more: Any) -> Seed:  # noqa: ANN401 - the fields of a seed
    """A job of its own, of one user."""
    return Seed(job_id=f"job-{uuid4()}", **{"user_id": USER, **more})


class World(ABC):
    """Where jobs are handed in, and what becomes of them is seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def pod(self, name: str = "pod", **settings: str) -> PodProcess:
        """A pod on the fake engine, not started yet; the same name continues its state."""

    @abstractmethod
    def hand_in(self, payload: Payload) -> str:
        """Hand in a job as a caller does; its id."""

    @abstractmethod
    def refusals_of(self, pairs: Iterable[tuple[Payload, Payload]]) -> list[Payload]:
        """Hand in jobs, each with what was meant before it; `code` and `sentence` of refusals."""

    @abstractmethod
    def told(self, job_id: str) -> list[Told]:
        """The callbacks of a job that were taken, in order."""

    @abstractmethod
    def files(self, job_id: str) -> list[str]:
        """The stored files of a job, as `user/job/name`."""

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """What the user's button does."""

    @abstractmethod
    def refuse_file(self, job_id: str, name: str) -> None:
        """Let the storage take no file of that name until `mend`."""

    @abstractmethod
    def was_refused(self, job_id: str, name: str) -> bool:
        """True once the storage has been asked to take that file."""

    @abstractmethod
    def break_callbacks(self, *, hang: bool = False) -> None:
        """Answer no callback well, or none at all, until `mend`."""

    @abstractmethod
    def lose_answers(self, number: int) -> None:
        """Let so many callbacks be taken, and answered as if not."""

    @abstractmethod
    def callback_tries(self, job_id: str) -> list[bytes]:
        """The bodies that came in for a job, taken or not."""

    @abstractmethod
    def mend(self) -> None:
        """Let everything work again."""

    @abstractmethod
    def keep_picture(self, data: bytes, user_id: str = USER) -> str:
        """Store a picture among a user's; how a job names it."""

    @abstractmethod
    def key_of(self, pod: PodProcess) -> str:
        """The key that the pod accepts."""

    @contextmanager
    def running(self, name: str = "pod", **settings: str) -> Iterator[PodProcess]:
        """A pod that can make pictures; what else it serves may still be loading."""
        with self.pod(name, **settings) as pod:
            until(lambda: is_ready(pod))
            yield pod

    def http(self, pod: PodProcess) -> httpx.Client:
        """A client of the pod, with its key."""
        headers = {"Authorization": f"Bearer {self.key_of(pod)}"}
        return httpx.Client(base_url=pod.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def statuses(self, job_id: str) -> list[str]:
        """What was told of a job, in order."""
        return [told.body["status"] for told in self.told(job_id)]

    def end_of(self, job_id: str, *, within_s: float = PATIENCE_S) -> Told:
        """The callback that tells how the job ended, once it has come."""
        until(lambda: ENDS & set(self.statuses(job_id)), within_s=within_s)
        return next(told for told in self.told(job_id) if told.body["status"] in ENDS)


class Embedded(World):
    """A pod by itself: jobs by HTTP, files in its folder, callbacks to a receiver."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        super().__init__(folder)
        self.receiver = receiver
        self._pod: PodProcess | None = None

    def pod(self, name: str = "pod", **settings: str) -> PodProcess:
        environment = {
            **_ground(self.folder),
            "CALLBACK_URL": self.receiver.url,
            "JOB_CALLBACK_SECRET": SECRET,
            **settings,
        }
        self._pod = PodProcess(
            self.folder / name, log=self.folder / f"{name}.log", environment=environment
        )
        return self._pod

    def hand_in(self, payload: Payload) -> str:
        reply = self._put(payload)
        assert reply.status_code == 202, reply.text
        return str(payload["id"])

    def refusals_of(self, pairs: Iterable[tuple[Payload, Payload]]) -> list[Payload]:
        told = []
        for _, bad in pairs:
            reply = self._put(bad)
            assert reply.is_client_error, reply.text
            told.append({"code": reply.json()["code"], "sentence": reply.json()["error"]})
        return told

    def told(self, job_id: str) -> list[Told]:
        return [
            Told(body=json.loads(call.body), raw=call.body, headers=call.headers, at=call.at)
            for call in self.receiver.calls()
            if call.taken and json.loads(call.body)["job_id"] == job_id
        ]

    def files(self, job_id: str) -> list[str]:
        root = self.started.state / "storage" / BUCKET
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if job_id in path.parts)

    def cancel(self, job_id: str) -> None:
        with self.http(self.started) as client:
            reply = client.delete(f"/v1/jobs/{job_id}")
            assert reply.status_code == 202, reply.text

    def refuse_file(self, job_id: str, name: str) -> None:
        self._obstacle(job_id, name).mkdir(parents=True)

    def was_refused(self, job_id: str, name: str) -> bool:
        return any(file.endswith(f"/.{name}.part") for file in self.files(job_id))

    def break_callbacks(self, *, hang: bool = False) -> None:
        self.receiver.break_down(hang=hang)

    def lose_answers(self, number: int) -> None:
        self.receiver.lose_answers(number)

    def callback_tries(self, job_id: str) -> list[bytes]:
        bodies = [call.body for call in self.receiver.calls()]
        return [body for body in bodies if json.loads(body)["job_id"] == job_id]

    def mend(self) -> None:
        self.receiver.mend()
        for path in (self.started.state / "storage").rglob("*.*"):
            if path.is_dir():
                path.rmdir()

    def keep_picture(self, data: bytes, user_id: str = USER) -> str:
        with self.http(self.started) as client:
            headers = {"Content-Type": "image/png"}
            params = {"user_id": user_id}
            reply = client.post("/v1/references", params=params, content=data, headers=headers)
            return str(reply.raise_for_status().json()["reference"])

    def key_of(self, pod: PodProcess) -> str:
        return pod.key()

    @property
    def started(self) -> PodProcess:
        """The pod that was made last."""
        assert self._pod is not None, "there is no pod yet"
        return self._pod

    def _put(self, payload: Payload) -> httpx.Response:
        with self.http(self.started) as client:
            return client.put(f"/v1/jobs/{payload['id']}", json=payload)

    def _obstacle(self, job_id: str, name: str) -> Path:
        """A folder where the file belongs."""
        return self.started.state / "storage" / BUCKET / USER / job_id / name


class Deployed(World):
    """A pod beside the application: pushed elements, its storage, its rows and its callbacks."""

    def __init__(self, world: Deployment) -> None:
        super().__init__(world.folder)
        self.world = world

    @property
    def application(self) -> Application:
        """The application."""
        return self.world.application

    def pod(self, name: str = "pod", **settings: str) -> PodProcess:
        return self.world.pod(name, **{**_ground(self.folder), **settings})

    def hand_in(self, payload: Payload) -> str:
        return self.application.submit(payload)

    def refusals_of(self, pairs: Iterable[tuple[Payload, Payload]]) -> list[Payload]:
        jobs = []
        for good, bad in pairs:
            self.application.insert(good, str(good["job_type"]))
            jobs.append(self.application.submit(bad, row=False))
        ends = [self.end_of(job).body for job in jobs]
        assert all((end["status"], end["assets"]) == ("failed", []) for end in ends), ends
        return [
            {"code": end["metadata"]["error_code"], "sentence": end["error_message"]}
            for end in ends
        ]

    def told(self, job_id: str) -> list[Told]:
        return [
            Told(body=json.loads(call.body), raw=call.body, headers=call.headers, at=call.at)
            for call in self.application.calls("job-callback", part=job_id)
            if call.executed and json.loads(call.body)["job_id"] == job_id
        ]

    def files(self, job_id: str) -> list[str]:
        keys = (name.removeprefix(f"{BUCKET}/") for name in self.application.objects())
        return sorted(key for key in keys if job_id in key.split("/"))

    def cancel(self, job_id: str) -> None:
        self.application.cancel(job_id)

    def refuse_file(self, job_id: str, name: str) -> None:
        path = f"{job_id}/{name}"
        self.application.add_fault(Fault(call="storage.put", status=503, times=None, path=path))

    def was_refused(self, job_id: str, name: str) -> bool:
        return bool(self.application.calls("storage.put", part=f"{job_id}/{name}"))

    def break_callbacks(self, *, hang: bool = False) -> None:
        how = Fault(call="job-callback", how="hang" if hang else "status", status=503, times=None)
        self.application.add_fault(how)

    def lose_answers(self, number: int) -> None:
        lost = Fault(call="job-callback", status=503, executed=True, times=number)
        self.application.add_fault(lost)

    def callback_tries(self, job_id: str) -> list[bytes]:
        bodies = [call.body for call in self.application.calls("job-callback", part=job_id)]
        return [body for body in bodies if json.loads(body)["job_id"] == job_id]

    def mend(self) -> None:
        self.application.clear_faults()

    def keep_picture(self, data: bytes, user_id: str = USER) -> str:
        return self.application.reference(user_id, data)

    def key_of(self, pod: PodProcess) -> str:
        return WORKER_KEY


KINDS = ("embedded", "deployed")


@contextmanager
def world_of(kind: str, folder: Path) -> Iterator[World]:
    """One of the two worlds, without a pod; it ends with the context."""
    with ExitStack() as stack:
        if kind == "embedded":
            yield Embedded(folder, stack.enter_context(Receiver()))
        else:
            yield Deployed(stack.enter_context(deployment(folder)))


def is_ready(pod: PodProcess) -> bool:
    """True once pictures can be made; an assertion with its last words if the pod has ended."""
    assert pod.is_alive(), pod.last_words()
    try:
        reply = httpx.get(f"{pod.url}/health", timeout=PATIENCE_S, trust_env=False)
    except httpx.TransportError:
        return False
    return reply.json()["ready"] is True


def records(pod: PodProcess, action: str) -> list[dict[str, Any]]:
    """The pod's own log of one action, so far."""
    lines = pod.log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [line for line in told if line.get("action") == action]


def workers_of(pod: PodProcess, lane: str = "") -> list[psutil.Process]:
    """The live worker processes of a lane, or of all."""
    named = f'"lane":"{lane}' if lane else '"lane":'
    found = []
    for child in psutil.Process(pod.pid).children(recursive=True):
        try:
            if named in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _ground(folder: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "OURVIDZ_FAKE_OPTIONS": QUICK,
        **FAKE,
    }
