"""The how-to "point your application here", followed step by step on a real deployment."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.pods import free_port

from ourvidz_worker.testing.deployment import FAKE, Deployment, deployment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "point-your-application-here.md"
SCRIPT = ROOT / "startup.sh"
PATIENCE_S = 120


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    """Redis and the application's side."""
    with deployment(tmp_path) as running:
        yield running


def environment(deployed: Deployment) -> dict[str, str]:
    """The variables of the how-to's first table, and the fake engine instead of models."""
    return deployed.environment(
        **FAKE,
        CHAT_WORKER_API_KEY="the-chat-key-of-the-deployment",
        STATE_DIR=str(deployed.folder / "state"),
        WORKER_PUBLIC_URL="http://localhost:7860",
        CHAT_WORKER_PUBLIC_URL="http://localhost:7861",
        WORKER_PORT=str(free_port()),
        CHAT_WORKER_PORT=str(free_port()),
        OURVIDZ_DEVICE="cpu",
    )


def shown(beginning: str) -> str:
    """The one command line of the page that begins so."""
    (line,) = re.findall(rf"^({re.escape(beginning)}.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    return str(line)


def shell(command: str, env: dict[str, str]) -> str:
    """Run a command of the page as an operator does."""
    done = subprocess.run(
        ["bash", "-euc", command], env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_sound_deployment_passes_the_check_and_is_left_alone(deployed: Deployment) -> None:
    """O-3, O-7: Redis and Supabase are reached, nothing is to mend, nothing was changed."""
    told = shell(f"{SCRIPT} --check", environment(deployed))
    assert "[1/6] environment validation: ok" in told
    assert "fail" not in told
    with deployed.redis.client() as client:
        assert client.keys() == []


def test_the_page_s_text_job_gives_its_result(deployed: Deployment) -> None:
    """J-1, Q-1: pushed by the page's own command, read by the page's own command."""
    env = environment(deployed) | {"ID": "check-1"}
    with subprocess.Popen(
        [SCRIPT], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as pod:
        assert pod.stderr is not None
        log = (json.loads(line) for line in pod.stderr if line.startswith("{"))
        assert any(line["action"] == "pod_started" for line in log)
        assert shell(shown('redis-cli -u "$REDIS_URL" RPUSH'), env).strip().isdecimal()
        delivered = (line["status"] for line in log if line["action"] == "callback_delivered")
        told = [next(delivered), next(delivered)]
        result = json.loads(shell(shown('redis-cli -u "$REDIS_URL" GET'), env))
        pod.terminate()
        pod.communicate(timeout=PATIENCE_S)
    assert told == ["processing", "completed"]
    assert (result["job_id"], result["status"]) == ("check-1", "completed")
    assert result["metadata"]["response"] == result["assets"][0]["text"]
    assert pod.returncode == 0
