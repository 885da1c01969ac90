"""Which variables the small models fill, when nobody has named models of their own."""

from collections.abc import Mapping

from rich.console import Console

from ourvidz_worker.cli.models import fetch_missing
from ourvidz_worker.cli.shelf import Shelf, ShelfModel
from ourvidz_worker.config import Config, served_lanes
from ourvidz_worker.domain.lane import Lane

CHAT_MODEL = "smollm2-135m-instruct"

#: Lane to the variables of its models and the small models that fill them. The chat model answers
#: for both chat models: it has no twin without instruction training.
POCKET: Mapping[Lane, Mapping[str, str]] = {
    Lane.IMAGE: {"SDXL_MODEL_PATH": "image"},
    Lane.VIDEO: {"WAN_MODEL_PATH": "video", "WAN_VACE_MODEL_PATH": "video-vace"},
    Lane.CHAT: {"QWEN_INSTRUCT_PATH": CHAT_MODEL, "QWEN_BASE_PATH": CHAT_MODEL},
}


def without_model(config: Config) -> tuple[Lane, ...]:
    """The lanes to be served for which no model is named, unless the fake engine serves them."""
    named = {
        Lane.IMAGE: (config.image_engine, config.sdxl_model_path),
        Lane.VIDEO: (config.video_engine, config.wan_model_path),
        Lane.CHAT: (config.chat_engine, config.qwen_instruct_path),
    }
    return tuple(
        lane for lane in served_lanes(config) if named[lane][0] != "fake" and not named[lane][1]
    )


def pocket_variables(lanes: tuple[Lane, ...], shelf: Shelf, console: Console) -> dict[str, str]:
    """Variables that point the lanes at the small models, fetched first where missing."""
    chosen: dict[str, ShelfModel] = {}
    for lane in lanes:
        for variable, name in POCKET[lane].items():
            model = shelf.find(name)
            if model is not None:
                chosen[variable] = model
    fetch_missing(tuple({model.name: model for model in chosen.values()}.values()), console)
    return {variable: str(model.folder) for variable, model in chosen.items()}
