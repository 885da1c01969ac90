"""References: from a job's words to a checked file, and pictures kept for later jobs."""

import asyncio
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from ourvidz_worker.domain.errors import BadReference, NotFound, UploadFailed
from ourvidz_worker.references import References

pytestmark = pytest.mark.anyio


def png(colour: str = "red") -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return file.getvalue()


def read(file: Path) -> bytes:
    return file.read_bytes()


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class Shelf:
    """A store in memory."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.types: dict[str, str] = {}

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        if key not in self.files:
            raise NotFound
        return self.files[key]

    async def put(self, key: str, file: Path, media_type: str) -> None:
        if self.types.get("full"):
            raise UploadFailed
        self.files[key] = read(file)
        self.types[key] = media_type


class Web:
    """Pages by URL."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages = pages

    async def fetch(self, url: str) -> bytes:
        return self.pages[url]

    def signed_path(self, url: str) -> str | None:
        return None


KEY = "user-library/u1/a.png"


async def test_the_bytes_of_a_users_own_picture_are_written(tmp_path: Path) -> None:
    references = References(Shelf({KEY: png()}), max_bytes=10_000)
    await references.fetch(KEY, "u1", tmp_path / "input")
    assert (tmp_path / "input").read_bytes() == png()


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("user-library/u1/none.png", "REFERENCE_NOT_FOUND"),
        ("user-library/u2/a.png", "REFERENCE_FORBIDDEN"),
        ("user-library/u1/../u2/a.png", "REFERENCE_URL_BLOCKED"),
        ("user-library/u1/text.png", "REFERENCE_NOT_AN_IMAGE"),
        ("user-library/u1/large.png", "REFERENCE_TOO_LARGE"),
        ("https://elsewhere.example/a.png", "REFERENCE_URL_BLOCKED"),
        ("file:///etc/passwd", "REFERENCE_URL_BLOCKED"),
        ("/etc/passwd", "REFERENCE_URL_BLOCKED"),
        ("", "REFERENCE_URL_BLOCKED"),
    ],
)
async def test_anything_else_is_refused_and_nothing_is_written(
    reference: str, reason: str, tmp_path: Path
) -> None:
    shelf = Shelf(
        {
            "user-library/u1/text.png": b"hello",
            "user-library/u1/large.png": png() + b"\0" * 10_000,
            "user-library/u2/a.png": png(),
        }
    )
    with pytest.raises(BadReference) as caught:
        await References(shelf, max_bytes=1000).fetch(reference, "u1", tmp_path / "input")
    assert caught.value.reason == reason
    assert files_in(tmp_path) == []


async def test_the_owner_rule_can_be_set_aside(tmp_path: Path) -> None:
    references = References(Shelf({KEY: png()}), max_bytes=1000, require_owner=False)
    await references.fetch(KEY, "u2", tmp_path / "input")
    assert (tmp_path / "input").exists()


async def test_urls_go_to_whoever_may_fetch_them(tmp_path: Path) -> None:
    web = Web({"https://a.example/x": png("blue"), "https://a.example/y": b"<html>"})
    references = References(Shelf(), max_bytes=1000, urls=web)
    await references.fetch("https://a.example/x", "u1", tmp_path / "input")
    assert (tmp_path / "input").read_bytes() == png("blue")
    with pytest.raises(BadReference, match="reference picture"):
        await references.fetch("https://a.example/y", "u1", tmp_path / "other")


async def test_a_kept_picture_can_be_named_by_its_user_alone(tmp_path: Path) -> None:
    shelf = Shelf()
    references = References(shelf, max_bytes=1000)
    key = await references.keep("u1", png())
    assert key.startswith("reference_images/u1/")
    assert key.endswith(".png")
    assert shelf.types == {key: "image/png"}
    assert key == await references.keep("u1", png())
    await references.fetch(key, "u1", tmp_path / "input")
    with pytest.raises(BadReference):
        await references.fetch(key, "u2", tmp_path / "other")


@pytest.mark.parametrize(
    ("user_id", "data", "reason"),
    [
        ("u1", b"hello", "REFERENCE_NOT_AN_IMAGE"),
        ("u1", b"\x89PNG\r\n\x1a\n" + b"\0" * 1000, "REFERENCE_TOO_LARGE"),
        ("../u2", png(), "REFERENCE_FORBIDDEN"),
    ],
)
async def test_what_is_not_kept(user_id: str, data: bytes, reason: str) -> None:
    shelf = Shelf()
    with pytest.raises(BadReference) as caught:
        await References(shelf, max_bytes=1000).keep(user_id, data)
    assert caught.value.reason == reason
    assert shelf.files == {}


async def test_a_store_that_is_full_says_so_itself() -> None:
    shelf = Shelf()
    shelf.types["full"] = "yes"
    with pytest.raises(UploadFailed):
        await References(shelf, max_bytes=1000).keep("u1", png())


async def test_many_pictures_are_checked_beside_each_other(tmp_path: Path) -> None:
    references = References(Shelf({KEY: png()}), max_bytes=1000)
    files = [tmp_path / str(number) for number in range(9)]
    await asyncio.gather(*(references.fetch(KEY, "u1", file) for file in files))
    assert all(file.read_bytes() == png() for file in files)
