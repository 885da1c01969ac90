"""Pods that the tests share, one for each pair of chat models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.purity.open_pod import OpenPod, open_pod
from tests.contract.purity.published import build_qwen, build_raw_llama, build_smollm
from tests.contract.purity.words import Words


@dataclass(frozen=True)
class Family:
    """A running pod, and the words of its two models; `beginning` stands before Base's texts."""

    pod: OpenPod
    instruct: Words
    base: Words
    beginning: str

    def words(self, name: str) -> Words:
        """The words of the model in the folder `name`."""
        return {"instruct": self.instruct, "base": self.base}[name]


def running(folder: Path, name: str, **settings: str) -> Iterator[Family]:
    """A pod with models like Qwen2.5's, or with one like SmolLM2's and a plain Llama."""
    if name == "qwen":
        instruct, base = build_qwen(folder / "instruct"), build_qwen(folder / "base", seed=2)
    else:
        instruct, base = build_smollm(folder / "instruct"), build_raw_llama(folder / "base", seed=2)
    with open_pod(folder / "state", instruct, base, settings=settings) as pod:
        beginning = "" if name == "qwen" else "<s>"
        yield Family(pod, Words.of(instruct), Words.of(base), beginning)


@pytest.fixture(scope="package")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """Models like Qwen2.5's."""
    yield from running(tmp_path_factory.mktemp("qwen"), "qwen")


@pytest.fixture(scope="package")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """A model like SmolLM2, with a Llama that has no markers as Base."""
    yield from running(tmp_path_factory.mktemp("smollm"), "smollm")


@pytest.fixture(params=["qwen", "smollm"])
def family(request: pytest.FixtureRequest) -> Family:
    """Either."""
    found: Family = request.getfixturevalue(request.param)
    found.pod.passed()
    return found
