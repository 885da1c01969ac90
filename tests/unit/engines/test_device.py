"""The device is taken whole, and the libraries' errors become ours at one border."""

import pytest
import torch

from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    ImageToImageFailed,
    InvalidPrompt,
    ModelLoadFailed,
    OurvidzError,
    OutOfMemory,
    StopRequested,
)
from ourvidz_worker.engines.device import (
    cap_memory,
    foreign_errors,
    library_versions,
    open_device,
    peak_bytes,
    size_bytes,
)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_cpu_computes_in_single_precision(device: str) -> None:
    compute = open_device(device, "auto", threads=1, memory_fraction=0.5)
    assert (compute.device.type, compute.dtype, compute.name) == ("cpu", torch.float32, "cpu")
    assert torch.get_num_threads() == 1
    assert peak_bytes(compute) > 0


def test_a_precision_may_be_chosen() -> None:
    assert open_device("cpu", "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("device", "dtype", "error"),
    [
        ("tpu", "auto", ConfigError),
        ("cpu", "int4", ConfigError),
        ("cuda", "auto", ModelLoadFailed),
    ],
)
def test_what_is_not_there_is_said(device: str, dtype: str, error: type[OurvidzError]) -> None:
    with pytest.raises(error):
        open_device(device, dtype)


def test_the_cap_is_nothing_without_a_card() -> None:
    before = torch.get_num_threads()
    cap_memory(0.2)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (torch.OutOfMemoryError("out"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (RuntimeError("shapes do not match"), AttemptError),
        (ValueError("no"), AttemptError),
        (KeyError("k"), AttemptError),
        (OSError("gone"), AttemptError),
    ],
)
def test_foreign_errors_become_ours_with_their_cause(
    raised: Exception, expected: type[OurvidzError]
) -> None:
    with pytest.raises(AttemptError) as caught, foreign_errors():
        raise raised
    assert type(caught.value) is expected
    assert caught.value.__cause__ is raised
    assert caught.value.sentence == str(expected.__doc__).strip()


def test_a_border_may_name_its_failure() -> None:
    with pytest.raises(ImageToImageFailed), foreign_errors(ImageToImageFailed):
        raise RuntimeError("x")
    with pytest.raises(OutOfMemory), foreign_errors(ImageToImageFailed):
        raise MemoryError


@pytest.mark.parametrize("ours", [StopRequested("cancelled"), InvalidPrompt()])
def test_what_is_ours_passes_untouched(ours: BaseException) -> None:
    with pytest.raises(type(ours)) as caught, foreign_errors():
        raise ours
    assert caught.value is ours


def test_sizes_and_versions_are_counted() -> None:
    layer = torch.nn.Linear(4, 3)
    assert size_bytes(layer) == (4 * 3 + 3) * 4
    assert library_versions()["torch"] == torch.__version__
