"""`doctor` and the application's services: real Redis, real HTTP, and nothing changed by asking."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal

import pytest
from redis import Redis

from ourvidz_worker.cli.finding import Finding
from ourvidz_worker.cli.redis_checks import check_redis, judge_server
from ourvidz_worker.cli.services import check_services
from ourvidz_worker.cli.supabase_checks import check_supabase
from ourvidz_worker.cli.upstash_checks import COMMANDS, check_upstash
from ourvidz_worker.config import Config
from ourvidz_worker.testing.pod_process import free_ports
from ourvidz_worker.testing.postgres import PostgresServer
from ourvidz_worker.testing.redis_server import RedisServer
from ourvidz_worker.testing.supabase import Fault, Keys, SupabaseEmulator
from ourvidz_worker.testing.upstash_front import UpstashFront

PATIENCE_S = 20.0
NOWHERE = "127.0.0.1:9"


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """A Redis of the test's own; the address it listens on."""
    (port,) = free_ports(1)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any("Ready to accept" in line for line in server.stdout)
        yield f"redis://127.0.0.1:{port}"
        server.kill()


class Server(ThreadingHTTPServer):
    """A server that waits for its answers when it is closed."""

    daemon_threads = False


@contextmanager
def http_server(answers: dict[str, tuple[int, object]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers by path, and what it was asked."""
    asked: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(f"{self.command} {self.path} {body.decode()}".strip())
            status, content = answers.get(self.path.partition("?")[0], (404, {}))
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_OPTIONS = answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Stay silent."""

    with Server(("127.0.0.1", 0), Receiver) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def redis(url: str) -> list[Finding]:
    return checked(asyncio.run(check_redis(url, PATIENCE_S)))


def upstash(url: str) -> list[Finding]:
    return checked(asyncio.run(check_upstash(url, "token", PATIENCE_S)))


def supabase_of(url: str, key: str) -> list[Finding]:
    return checked(asyncio.run(check_supabase(url, key, PATIENCE_S)))


def checked(found: list[Finding]) -> list[Finding]:
    """Every bad finding has a cure."""
    assert found
    assert all(finding.cure for finding in found if finding.level != "ok")
    return found


def levels(found: list[Finding]) -> list[str]:
    return [finding.level for finding in found]


def told(found: list[Finding]) -> str:
    return " | ".join(f"{finding.level} {finding.what}: {finding.told}" for finding in found)


def test_a_sound_redis_is_well_and_left_alone(tmp_path: Path) -> None:
    """O-3, Q-1: reached, persistent, its lists readable; nothing is written."""
    with redis_server(tmp_path, "--appendonly", "yes") as url, closing(Redis.from_url(url)) as own:
        own.rpush("sdxl_queue", "{}", "{}")
        found = redis(url)
        assert own.keys() == [b"sdxl_queue"]
        assert own.llen("sdxl_queue") == 2
    assert levels(found) == ["ok", "ok"]
    assert "waiting: sdxl_queue 2, wan_queue 0, chat_queue 0" in told(found)


def test_a_redis_that_forgets_or_evicts_is_warned_of(tmp_path: Path) -> None:
    options = ("--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with redis_server(tmp_path, *options) as url:
        found = redis(url)
    assert levels(found) == ["ok", "warn", "warn", "ok"]
    assert "a restart of it forgets waiting jobs" in told(found)
    assert "throws keys away (allkeys-lru)" in told(found)


def test_a_key_in_the_place_of_a_list_is_a_fault(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--appendonly", "yes") as url, closing(Redis.from_url(url)) as own:
        own.set("wan_queue", "text")
        found = redis(url)
    assert "fail wan_queue: is a key of another kind" in told(found)


def test_a_user_without_rights_is_told_which(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, closing(Redis.from_url(url)) as own:
        own.acl_setuser("poor", enabled=True, passwords=["+word"], commands=["+ping", "+client"])
        found = redis(url.replace("//", "//poor:word@"))
    assert levels(found) == ["warn", "fail", "fail", "fail", "fail"]
    assert "INFO is not allowed" in told(found)
    assert "chat_queue: may not be read" in told(found)
    assert "scripts are not allowed" in told(found)


def test_a_refused_password_is_a_fault_and_is_not_shown(tmp_path: Path) -> None:
    """H-4: no secret in what is told."""
    with redis_server(tmp_path, "--requirepass", "right-password") as url:
        found = redis(url.replace("//", "//:wrong-password@"))
    assert levels(found) == ["fail"]
    assert "password" in found[0].told
    assert "wrong-password" not in told(found) + found[0].cure


def test_a_redis_that_cannot_be_reached_is_a_warning() -> None:
    """O-3: unreachable services warn."""
    found = redis(f"redis://:secret-word@{NOWHERE}")
    assert levels(found) == ["warn"]
    assert "secret-word" not in told(found)


@pytest.mark.parametrize(
    ("info", "level", "words"),
    [
        ({"redis_version": "6.0.16"}, "fail", "older than 6.2"),
        ({"redis_version": "?"}, "fail", "older than 6.2"),
        ({"role": "slave"}, "fail", "is a slave"),
        ({"cluster_enabled": 1}, "fail", "is a cluster"),
    ],
)
def test_what_a_server_says_of_itself_is_judged(
    info: dict[str, object], level: str, words: str
) -> None:
    sound = {"redis_version": "7.0.15", "role": "master", "aof_enabled": 1}
    first, second = checked(judge_server(sound | info))
    assert first.level == "ok"
    assert (second.level, words in second.told) == (level, True)


def test_upstash_is_asked_in_one_call_that_changes_nothing() -> None:
    """Q-2: the pipeline form; PING, an empty script and three lengths."""
    replies = [{"result": "PONG"}, {"result": 1}, *({"result": n} for n in (2, 0, 1))]
    with http_server({"/pipeline": (200, replies)}) as (url, asked):
        found = upstash(url + "/")
    assert asked == [f"POST /pipeline {json.dumps(COMMANDS, separators=(',', ':'))}"]
    assert levels(found) == ["ok", "ok"]
    assert "sdxl_queue 2, wan_queue 0, chat_queue 1" in told(found)


@pytest.mark.parametrize(
    ("status", "content", "level", "words"),
    [
        (401, {"error": "Unauthorized"}, "fail", "UPSTASH_REDIS_REST_TOKEN: is refused"),
        (500, {}, "warn", "it answers 500"),
        (200, b"<html>", "fail", "does not speak Upstash REST"),
        (200, [], "fail", "does not speak Upstash REST"),
        (200, [{"result": 1}, {"error": "NOPERM"}] + [{"result": 0}] * 3, "fail", "run scripts"),
        (200, [{"result": 1}] * 4 + [{"error": "WRONGTYPE"}], "fail", "chat_queue: cannot be read"),
    ],
)
def test_what_is_wrong_with_upstash_is_told(
    status: int, content: object, level: str, words: str
) -> None:
    with http_server({"/pipeline": (status, content)}) as (url, _):
        (found,) = upstash(url)
    assert found.level == level
    assert words in told([found])


def test_a_sound_upstash_is_well_and_left_alone(tmp_path: Path) -> None:
    """O-3, Q-2: the same over the front that speaks as Upstash does."""
    with RedisServer(tmp_path) as server, UpstashFront(server.port) as front:
        database = server.fresh()
        with server.client(database) as own:
            own.rpush("wan_queue", "{}")
            found = checked(
                asyncio.run(check_upstash(front.url, front.token(database), PATIENCE_S))
            )
            assert own.keys() == [b"wan_queue"]
    assert levels(found) == ["ok", "ok"]
    assert "wan_queue 1" in told(found)


def test_an_upstash_that_cannot_be_reached_is_a_warning() -> None:
    """O-3: unreachable services warn."""
    assert levels(upstash(f"http://{NOWHERE}")) == ["warn"]


def test_a_sound_supabase_is_well_and_left_alone(supabase: SupabaseEmulator) -> None:
    """O-3, G-5: rows are read, the bucket is described, functions are not called."""
    found = supabase_of(supabase.url, supabase.state.keys.service)
    assert levels(found) == ["ok"] * 7
    assert [finding.what for finding in found] == [
        "system_config",
        "jobs",
        "bucket workspace-temp",
        "job-callback",
        "update-worker-url",
        "register-chat-worker",
        "health-check-workers",
    ]
    assert {call.method for call in supabase.state.calls} == {"GET"}


def test_a_key_without_rights_is_found_out(supabase: SupabaseEmulator) -> None:
    """K-20: a key that sees no row would cancel every job."""
    found = supabase_of(supabase.url, supabase.state.keys.anon)
    assert "fail system_config: row 1 is not seen" in told(found)
    assert "fail bucket workspace-temp: SUPABASE_SERVICE_ROLE_KEY is refused" in told(found)
    wrong = supabase_of(supabase.url, "no-key-of-this-project")
    assert levels(wrong)[:3] == ["fail"] * 3
    assert "no-key-of-this-project" not in told(wrong)


def test_one_call_that_fails_hides_no_other(supabase: SupabaseEmulator) -> None:
    supabase.state.faults.add(Fault(call="storage.bucket", status=503))
    supabase.state.faults.add(Fault(call="rest.get", how="cut", path="jobs"))
    found = supabase_of(supabase.url, supabase.state.keys.service)
    assert levels(found) == ["ok", "warn", "warn", "ok", "ok", "ok", "ok"]


BUCKET = "/storage/v1/bucket/workspace-temp"


@pytest.mark.parametrize(
    ("path", "answer", "level", "words"),
    [
        (BUCKET, (400, {"statusCode": "404"}), "fail", "there is none"),
        (BUCKET, (400, b"<html>"), "fail", "there is none"),
        (BUCKET, (200, {"public": True}), "warn", "is public"),
        (
            BUCKET,
            (200, {"allowed_mime_types": ["image/png", "image/webp"]}),
            "fail",
            "does not take video/mp4",
        ),
        ("/rest/v1/jobs", (400, {"code": "42703"}), "fail", "cannot be read"),
        ("/rest/v1/jobs", (200, b"<html>"), "fail", "cannot be read"),
        ("/rest/v1/system_config", (404, {}), "fail", "the table cannot be read"),
        ("/functions/v1/job-callback", (404, {}), "fail", "not deployed"),
    ],
)
def test_what_the_application_lacks_is_told(
    path: str, answer: tuple[int, object], level: str, words: str
) -> None:
    names = ("job-callback", "update-worker-url", "register-chat-worker", "health-check-workers")
    answers: dict[str, tuple[int, object]] = {
        "/rest/v1/system_config": (200, [{"config": {}}]),
        "/rest/v1/jobs": (200, []),
        BUCKET: (200, {"public": False}),
        **{f"/functions/v1/{name}": (200, b"ok") for name in names},
    }
    with http_server(answers | {path: answer}) as (url, asked):
        found = supabase_of(url, "key")
    assert len(asked) == 7
    assert sorted(levels(found)) == sorted([level, *["ok"] * 6])
    assert words in told(found)


def test_a_supabase_that_cannot_be_reached_is_one_warning() -> None:
    """O-3: unreachable services warn, once."""
    assert levels(supabase_of(f"http://{NOWHERE}", "key")) == ["warn"]


def test_all_services_are_asked_and_a_silent_one_holds_nobody_up(
    supabase: SupabaseEmulator,
) -> None:
    """O-3: with a short time-out, beside each other."""
    supabase.state.faults.add(Fault(call="rest.get", how="hang", times=None))
    config = Config(
        supabase_url=supabase.url,
        supabase_service_role_key=supabase.state.keys.service,
        redis_url=f"redis://{NOWHERE}",
        callback_url="https://elsewhere.example.com",
        register_worker=False,
        register_chat_worker=False,
    )
    found = check_services(config, timeout_s=1.0)
    assert levels(found) == ["warn", "warn", "warn", "ok"]
    assert found[0].what == "redis"


@pytest.mark.parametrize(
    ("secret", "revision", "level"),
    [("right", "C2", "ok"), ("wrong", "C2", "fail"), ("", "C2", "fail"), ("", "C1", "ok")],
)
def test_a_signature_is_tried_without_naming_a_job(
    postgres: PostgresServer, secret: str, revision: Literal["C1", "C2"], level: str
) -> None:
    """7.1: C2 looks at the signature of the exact bytes, C1 does not; nothing is changed."""
    keys = Keys(callback_secret="right", revision=revision)
    with SupabaseEmulator(postgres.database(), keys=keys) as emulator:
        config = Config(
            supabase_url=emulator.url,
            supabase_service_role_key=keys.service,
            job_callback_secret=secret,
        )
        found = checked(check_services(config, timeout_s=PATIENCE_S, signature=True))
        (call,) = [call for call in emulator.state.calls if call.name == "job-callback"]
    assert (found[-1].what, found[-1].level) == ("signature", level)
    assert call.body == b"{}"


def test_a_receiver_that_is_not_well_is_a_warning() -> None:
    with http_server({"/hook": (500, {})}) as (url, _):
        config = Config(callback_url=f"{url}/hook")
        (broken,) = checked(check_services(config, timeout_s=PATIENCE_S, signature=True))
    assert check_services(Config(webhook_secrets="whsec_short"), signature=True) == []
    gone = Config(callback_url=f"http://{NOWHERE}")
    (silent,) = checked(check_services(gone, timeout_s=PATIENCE_S, signature=True))
    assert (broken.level, silent.level) == ("warn", "warn")
    assert check_services(Config(), signature=True) == []


def test_an_embedded_pod_has_no_service_to_ask() -> None:
    assert check_services(Config()) == []
    rest = Config(upstash_redis_rest_url=f"http://{NOWHERE}", upstash_redis_rest_token="token")
    assert [finding.what for finding in check_services(rest, timeout_s=5.0)] == ["upstash"]
