"""How a command reaches a pod: its address and key, and the client's errors in our own words."""

import functools
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click

from ourvidz_worker.client import (
    Client,
    ClientError,
    JobCancelled,
    JobFailed,
    PodFailed,
    Rejected,
)
from ourvidz_worker.config import read_client_settings
from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    OurvidzError,
    RequestError,
    Unavailable,
)

KEY_FILE = "admin.key"

#: The client's error to ours; the first class that fits counts.
TRANSLATION: tuple[tuple[type[ClientError], type[OurvidzError]], ...] = (
    (Rejected, RequestError),
    (JobFailed, AttemptError),
    (JobCancelled, AttemptError),
    (PodFailed, AttemptError),
    (ClientError, Unavailable),
)

Result = TypeVar("Result")


class PodAccess:
    """Opens clients to the pod that the options and the environment name."""

    def __init__(self, url: str | None, key: str | None, state_dir: Path | None) -> None:
        """What is None comes from the environment, else from the machine's defaults."""
        settings = read_client_settings()
        self.url = url or settings.url
        self._key = key or settings.key
        self._state_dir = state_dir or settings.state_dir

    @contextmanager
    def open(self) -> Iterator[Client]:
        """A client; its errors leave the block as ours."""
        with translated(), Client(self.url, self.key()) as client:
            yield client

    def key(self) -> str:
        """The key given, else the one that a pod on this machine keeps in its state folder.

        That one is sent to this machine alone. Raises `ConfigError` when it cannot be read.
        """
        file = self._state_dir / KEY_FILE
        if self._key or not is_local(self.url) or not file.exists():
            return self._key
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"STATE_DIR: {file} cannot be read") from error


def pod_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the options that find a pod; it is called with a `PodAccess` as `pod`."""

    @click.option("--url", help="Address of the pod. [OURVIDZ_URL; else this machine's]")
    @click.option("--key", help="Key of the pod. [OURVIDZ_KEY; else from the state folder]")
    @click.option("--state-dir", type=click.Path(path_type=Path), help="[STATE_DIR]")
    @functools.wraps(command)
    def with_pod(
        *, url: str | None, key: str | None, state_dir: Path | None, **options: object
    ) -> Result:
        return command(pod=PodAccess(url, key, state_dir), **options)

    return with_pod


@contextmanager
def translated() -> Iterator[None]:
    """Raise the client's errors as ours, with the code and request id that the pod told."""
    try:
        yield
    except ClientError as error:
        kind = next(ours for theirs, ours in TRANSLATION if isinstance(error, theirs))
        raise kind(
            error.sentence, field=error.field, code=error.code, request_id=error.request_id
        ) from error


def is_local(url: str) -> bool:
    """True when `url` names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
