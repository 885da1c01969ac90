"""Which vLLM is taken, and under which environment."""

from importlib.util import find_spec

import pytest

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.text.vllm_library import check_version, open_library


@pytest.mark.parametrize("version", ["0.24.0", "0.24.0+cu130", "0.33.0", "0.33.1rc1"])
def test_a_version_that_was_looked_at_is_admitted(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["0.23.0", "0.9.2", "0.34.0", "1.0.0", "dev", ""])
def test_another_version_is_refused_and_the_extra_named(version: str) -> None:
    with pytest.raises(ModelLoadFailed) as caught:
        check_version(version)
    assert "ourvidz-worker[vllm]" in caught.value.sentence


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_load_fails_and_names_the_extra() -> None:
    environment = {"VLLM_HOST_IP": "10.0.0.1"}
    with pytest.raises(ModelLoadFailed) as caught:
        open_library(environment)
    assert "ourvidz-worker[vllm]" in caught.value.sentence
    assert environment == {"VLLM_HOST_IP": "10.0.0.1"}
