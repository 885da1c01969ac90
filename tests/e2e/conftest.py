"""Pods and receivers for the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.pods import FAKE, Pod, Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A receiver of callbacks."""
    receiver = Sink()
    yield receiver
    receiver.close()


@pytest.fixture
def fake_pod(tmp_path: Path, sink: Sink) -> Iterator[Pod]:
    """A pod on the fake engine, with 30 ms a step, not started yet."""
    pod = Pod(
        tmp_path / "state", CALLBACK_URL=sink.url, OURVIDZ_FAKE_OPTIONS='{"steps_s": 0.03}', **FAKE
    )
    yield pod
    pod.close()
