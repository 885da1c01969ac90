"""`up` from its options to the configuration that the pod is given."""

from pathlib import Path

import pytest
from rich.console import Console

from ourvidz_worker.cli import up
from ourvidz_worker.cli.main import run
from ourvidz_worker.cli.shelf import Shelf
from ourvidz_worker.config import Config
from ourvidz_worker.domain.lane import Lane


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    given: list[Config] = []

    def serve(config: Config) -> int:
        given.append(config)
        return 7

    monkeypatch.setattr(up, "serve", serve)
    monkeypatch.setattr(up, "open_shelf", lambda: Shelf(models=()))
    return given


def test_options_become_settings_and_the_pods_code_is_ours(
    served: list[Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["up", "--engine", "fake", "--port", "1", "--chat-port", "2"]
    assert run([*words, "--state-dir", str(tmp_path)]) == 7
    (config,) = served
    assert (config.worker_port, config.chat_worker_port) == (1, 2)
    assert {config.image_engine, config.chat_engine, config.video_engine} == {"fake"}
    assert config.state_dir == tmp_path
    assert capsys.readouterr().err == (
        "images and video at http://127.0.0.1:1, chat at http://127.0.0.1:2,"
        f" state in {tmp_path}; Ctrl-C stops\n"
    )


def test_small_models_fill_what_nobody_named(
    served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Lane, ...]] = []

    def fill(lanes: tuple[Lane, ...], shelf: Shelf, console: Console) -> dict[str, str]:
        asked.append(lanes)
        return {"QWEN_INSTRUCT_PATH": "/small"}

    monkeypatch.setattr(up, "pocket_variables", fill)
    monkeypatch.setenv("SDXL_MODEL_PATH", "/mine")
    assert run(["up"]) == 7
    assert asked == [(Lane.CHAT, Lane.VIDEO)]
    assert (served[0].sdxl_model_path, served[0].qwen_instruct_path) == ("/mine", "/small")


def test_without_small_models_only_named_ones_are_served(
    served: list[Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["up", "--no-pocket"]) == 1
    assert "No lane has a model" in capsys.readouterr().err
    assert served == []
    monkeypatch.setenv("QWEN_INSTRUCT_PATH", "/mine")
    assert run(["up", "--no-pocket"]) == 7
    assert "; no model for image, video;" in capsys.readouterr().err


def test_a_deployed_pod_takes_small_models_only_when_told(
    served: list[Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody's request is answered by a small model because a path was forgotten."""
    deployed = {
        "SUPABASE_URL": "https://ref.supabase.co",
        "SUPABASE_SERVICE_ROLE_KEY": "key",
        "WAN_WORKER_API_KEY": "key",
        "REDIS_URL": "redis://127.0.0.1",
    }
    for variable, value in deployed.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(up, "pocket_variables", lambda *_: {"QWEN_INSTRUCT_PATH": "/small"})
    assert run(["up"]) == 1
    assert "No lane has a model" in capsys.readouterr().err
    assert run(["up", "--pocket"]) == 7
    assert served[0].qwen_instruct_path == "/small"


def test_a_bad_setting_is_named(
    served: list[Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OURVIDZ_LANE", "image")
    monkeypatch.setenv("CHAT_MAX_WAITING", "-1")
    monkeypatch.setenv("LEASE_TTL_S", "0")
    assert run(["up", "--port", "70", "--chat-port", "70"]) == 1
    told = capsys.readouterr().err
    assert "OURVIDZ_LANE is unknown" in told
    assert "must differ" in told
    assert "CHAT_MAX_WAITING must not be below 0" in told
    assert "LEASE_TTL_S must be above 0" in told
    assert served == []
