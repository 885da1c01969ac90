"""How much the models of each lane weigh on disk."""

from collections.abc import Mapping
from pathlib import Path

from ourvidz_worker.config import Config
from ourvidz_worker.domain.lane import Lane

Weights = Mapping[Lane, int]
"""Lane to bytes; a lane whose models are not named is absent."""


def weights_of(config: Config) -> Weights:
    """The bytes of safetensors of each lane's models; what cannot be read weighs nothing."""
    paths = {
        Lane.IMAGE: [config.sdxl_model_path],
        Lane.CHAT: [config.qwen_instruct_path, config.qwen_base_path],
        Lane.VIDEO: [config.wan_model_path, config.wan_vace_model_path],
    }
    sizes = {
        lane: sum(_size(Path(text).expanduser()) for text in dict.fromkeys(texts) if text)
        for lane, texts in paths.items()
    }
    return {lane: size for lane, size in sizes.items() if size}


def safetensors_of(path: Path) -> list[Path]:
    """The weights files of a model, which is a folder or one file."""
    return [path] if path.is_file() else sorted(path.rglob("*.safetensors"))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in safetensors_of(path) if file.exists())
