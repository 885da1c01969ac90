"""How the command line finds a pod and its key."""

from pathlib import Path

import pytest

from ourvidz_worker.cli.access import PodAccess, is_local, translated
from ourvidz_worker.client import (
    ClientError,
    ConnectionFailed,
    KeyRejected,
    NotNow,
    PodFailed,
    UnexpectedAnswer,
)
from ourvidz_worker.client.errors import Problem
from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    OurvidzError,
    RequestError,
    Unavailable,
)

LOCAL = "http://127.0.0.1:7860"


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OURVIDZ_URL", "OURVIDZ_KEY", "WAN_WORKER_API_KEY", "WORKER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


def keep_key(folder: Path, key: str = "local-key\n") -> Path:
    file = folder / "admin.key"
    file.write_text(key)
    return file


def test_the_machines_own_pod_is_the_default(tmp_path: Path) -> None:
    keep_key(tmp_path)
    access = PodAccess(None, None, None)
    assert (access.url, access.key()) == (LOCAL, "local-key")


def test_variables_and_options_go_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keep_key(tmp_path)
    monkeypatch.setenv("OURVIDZ_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OURVIDZ_KEY", "from-variable")
    assert PodAccess(None, None, None).url == "http://127.0.0.1:1"
    assert PodAccess(None, None, None).key() == "from-variable"
    assert PodAccess(LOCAL, "option", None).key() == "option"


def test_the_local_key_goes_to_this_machine_alone(tmp_path: Path) -> None:
    keep_key(tmp_path)
    assert PodAccess("https://elsewhere.example", None, None).key() == ""
    assert PodAccess("http://localhost:1", None, tmp_path).key() == "local-key"


def test_without_a_key_file_there_is_no_key(tmp_path: Path) -> None:
    assert PodAccess(LOCAL, None, tmp_path / "none").key() == ""


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    keep_key(tmp_path).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"admin\.key cannot be read"):
        PodAccess(LOCAL, None, None).key()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        (LOCAL, True),
        ("http://[::1]:1", True),
        ("http://LOCALHOST", True),
        ("http://10.0.0.1", False),
    ],
)
def test_what_is_local(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (KeyRejected(), RequestError),
        (PodFailed(), AttemptError),
        (NotNow(), Unavailable),
        (ConnectionFailed(), Unavailable),
        (UnexpectedAnswer(), Unavailable),
    ],
)
def test_the_clients_errors_become_ours(theirs: ClientError, ours: type[OurvidzError]) -> None:
    with pytest.raises(ours) as caught, translated():
        raise theirs
    assert caught.value.sentence == theirs.sentence


def test_what_the_pod_said_travels_along() -> None:
    said = Problem(code="X", error="No.", field="f", request_id="r")
    with pytest.raises(RequestError) as caught, translated():
        raise KeyRejected(problem=said)
    assert (caught.value.field, caught.value.facts) == ("f", {"code": "X", "request_id": "r"})
