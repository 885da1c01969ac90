"""`/v1/models`: which names a caller may use, and what is behind each."""

from typing import Any

import httpx
import msgspec
import pytest

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio


async def get(pod: FakePod, path: str = "/v1/models", key: str | None = None) -> httpx.Response:
    """The reply to one call."""
    async with client_of(pod.app(), key=key) as client:
        return await client.get(path)


def serve(pod: FakePod, **chat: Any) -> None:  # noqa: ANN401 - any facts of a worker
    """Let the pod's chat worker say this of itself; nothing means that there is none."""
    workers = {Lane.CHAT: chat} if chat else {}
    pod.view.view = msgspec.structs.replace(pod.view.view, workers=workers)


def names(reply: httpx.Response) -> list[str]:
    """The names in a list."""
    told = reply.json()
    assert (told["object"], reply.status_code) == ("list", 200)
    return [card["id"] for card in told["data"]]


async def test_models_are_listed_by_their_short_names_and_their_own() -> None:
    pod = FakePod()
    assert names(await get(pod)) == ["qwen_instruct", "pocket-chat"]
    serve(pod, model="Qwen2.5-7B-Instruct", base_model="Qwen2.5-7B")
    listed = names(await get(pod))
    assert listed == ["qwen_instruct", "Qwen2.5-7B-Instruct", "qwen_base", "Qwen2.5-7B"]
    serve(pod, model="One", base_model="One")
    assert names(await get(pod)) == ["qwen_instruct", "One", "qwen_base"]
    serve(pod)
    assert names(await get(pod)) == []


async def test_a_base_model_whose_name_is_not_told_is_listed_too() -> None:
    pod = FakePod()
    loaded = {"instruct_loaded": True, "base_loaded": True}
    pod.view.view = msgspec.structs.replace(pod.view.view, models_loaded=loaded)
    assert names(await get(pod)) == ["qwen_instruct", "pocket-chat", "qwen_base"]


async def test_a_model_is_found_by_any_name_it_is_called_by() -> None:
    """2.3: in any case."""
    pod = FakePod()
    for name in ("qwen_instruct", "QWEN2.5-7B-Instruct", "Pocket-Chat"):
        reply = await get(pod, f"/v1/models/{name}")
        assert reply.status_code == 200
        told = reply.json()
        del told["request_id"]
        assert told == {
            "id": name,
            "object": "model",
            "created": 1_700_000_000 - 12,
            "owned_by": "ourvidz-worker",
            "root": "pocket-chat",
        }


@pytest.mark.parametrize("name", ["gpt-9", "qwen_base", "%00"])
async def test_a_model_that_is_not_served_is_not_found(name: str) -> None:
    reply = await get(FakePod(), f"/v1/models/{name}")
    told = reply.json()
    assert (reply.status_code, told["code"]) == (404, "NOT_FOUND")
    assert told["error"]["param"] == "model"
    assert "gpt" not in reply.text


async def test_a_wrong_key_is_a_wrong_key() -> None:
    """A-2, A-5."""
    reply = await get(FakePod(), key="wrong")
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.json()["error"]["type"] == "authentication_error"


async def test_every_name_that_is_listed_is_taken() -> None:
    pod = FakePod()
    serve(pod, model="Own-Instruct", base_model="Own-Base")
    async with client_of(pod.app()) as client:
        for name in names(await get(pod)):
            body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    asked = [request.model for request in pod.texts.requests]
    assert asked == ["instruct", "instruct", "base", "base"]
    serve(pod, model="One", base_model="One")
    async with client_of(pod.app()) as client:
        await client.post("/v1/completions", json={"model": "one", "prompt": "x"})
    assert pod.texts.requests[-1].model == "instruct"
