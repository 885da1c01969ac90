import base64
from collections.abc import Iterator

import httpx
import pytest

from ourvidz_worker.testing.redis_server import RedisServer
from ourvidz_worker.testing.upstash_front import UpstashFront

HEADERS = {"Authorization": f"Bearer {UpstashFront.token(1)}"}
RAW = b'["{\\"id\\":\\"a/b?c\\"}"] \xff'


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstashFront]:
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as server,
        UpstashFront(server.port) as front,
    ):
        yield front


@pytest.fixture
def client(front: UpstashFront) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=front.url, headers=HEADERS) as client:
        client.post("/", json=["FLUSHDB"])
        yield client


def _result(reply: httpx.Response) -> object:
    assert reply.status_code == 200, reply.text
    return reply.json()["result"]


def test_a_body_is_the_last_argument_as_it_is(client: httpx.Client) -> None:
    """Q-2: as the application pushes."""
    assert _result(client.post("/rpush/sdxl_queue", content=RAW)) == 1
    assert _result(client.get("/llen/sdxl_queue")) == 1
    kept = client.get("/lindex/sdxl_queue/0", headers={"Upstash-Encoding": "base64"})
    assert base64.b64decode(str(_result(kept))) == RAW
    assert "\ufffd" in str(_result(client.get("/lindex/sdxl_queue/0")))


def test_a_command_may_be_an_array(client: httpx.Client) -> None:
    assert _result(client.post("/", json=["SET", "key", 7, "EX", 60])) == "OK"
    assert _result(client.post("/", json=["GET", "key"])) == "7"
    encoded = client.post("/", json=["SET", "key", 8], headers={"Upstash-Encoding": "base64"})
    assert _result(encoded) == "OK"
    assert _result(client.get("/get/nothing")) is None


def test_a_failing_command_is_400(client: httpx.Client) -> None:
    """Q-2."""
    for command in (["NONSENSE"], ["LLEN"], ["EVALSHA", "0" * 40, 0], ["BLPOP", "sdxl_queue", 1]):
        reply = client.post("/", json=command)
        assert reply.status_code == 400
        assert list(reply.json()) == ["error"]
    assert client.post("/", content=b"{").status_code == 400
    script = client.post("/", json=["EVALSHA", "0" * 40, 0])
    assert script.json()["error"].startswith("NOSCRIPT")


def test_a_pipeline_answers_each_command(client: httpx.Client) -> None:
    """Q-2: errors come for each element, and the others are done."""
    reply = client.post("/pipeline", json=[["SET", "a", "1"], ["LLEN", "a"], ["INCR", "a"]])
    assert reply.status_code == 200
    first, second, third = reply.json()
    assert first == {"result": "OK"}
    assert second["error"].startswith("WRONGTYPE")
    assert third == {"result": 2}


def test_several_commands_may_be_one(client: httpx.Client) -> None:
    """Q-2: all or nothing."""
    reply = client.post("/multi-exec", json=[["SET", "a", "1"], ["INCR", "a"]])
    assert reply.json() == [{"result": "OK"}, {"result": 2}]
    broken = client.post("/multi-exec", json=[["INCR", "a"], ["NONSENSE"]])
    assert broken.status_code == 400
    assert _result(client.get("/get/a")) == "2"


def test_a_token_is_needed(front: UpstashFront) -> None:
    """Q-2: as bearer, or as `_token`; each database has its own."""
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx.post(front.url, json=["PING"], headers=headers).status_code == 401
    put = httpx.post(f"{front.url}/set/a/1", params={"_token": front.token(2), "EX": "60"})
    assert put.json() == {"result": "OK"}
    other = httpx.get(f"{front.url}/get/a", params={"_token": front.token(3)})
    assert other.json() == {"result": None}
