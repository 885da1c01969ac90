"""What `doctor` says of the models: all their parts are there, readable and whole."""

from pathlib import Path

import msgspec

from ourvidz_worker.cli.finding import Finding, fault, warning, well
from ourvidz_worker.cli.model_sizes import safetensors_of
from ourvidz_worker.cli.pocket import without_model
from ourvidz_worker.cli.safetensors_header import damage
from ourvidz_worker.cli.shelf import is_there, open_shelf
from ourvidz_worker.config import Config, is_deployed, served_lanes
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.lane import Lane

GIGABYTE = 1_000_000_000
WEIGHTS = ".safetensors"

#: Variable to the components that its folder must hold; `.` is the folder itself.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "SDXL_MODEL_PATH": ("unet", "vae", "text_encoder", "text_encoder_2"),
    "WAN_MODEL_PATH": ("transformer", "vae", "text_encoder"),
    "WAN_VACE_MODEL_PATH": ("transformer",),
    "QWEN_INSTRUCT_PATH": (".",),
    "QWEN_BASE_PATH": (".",),
}

#: Variable to the folder of its tokenizer, beside the weights where they are one file.
TOKENIZERS: dict[str, str] = {
    "SDXL_MODEL_PATH": "tokenizer",
    "WAN_MODEL_PATH": "tokenizer",
    "QWEN_INSTRUCT_PATH": ".",
    "QWEN_BASE_PATH": ".",
}

#: Any of these groups of files makes a tokenizer.
TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("spiece.model",),
    ("tokenizer.model",),
)

LANE_VARIABLES: dict[Lane, str] = {
    Lane.IMAGE: "SDXL_MODEL_PATH",
    Lane.CHAT: "QWEN_INSTRUCT_PATH",
    Lane.VIDEO: "WAN_MODEL_PATH",
}


class Index(msgspec.Struct, frozen=True):
    """Which file of a model in pieces holds which weight."""

    weight_map: dict[str, str]


def check_models(config: Config) -> list[Finding]:
    """Every model that is named: each thing that is wrong with it, or one good line."""
    named = {
        "SDXL_MODEL_PATH": config.sdxl_model_path,
        "WAN_MODEL_PATH": config.wan_model_path,
        "WAN_VACE_MODEL_PATH": config.wan_vace_model_path,
        "QWEN_INSTRUCT_PATH": config.qwen_instruct_path,
        "QWEN_BASE_PATH": config.qwen_base_path,
    }
    return [
        finding
        for variable, text in named.items()
        if text
        for finding in _model(variable, Path(text).expanduser())
    ]


def check_lanes(config: Config) -> list[Finding]:
    """Which lanes have no model; a deployed pod does without them, and fails without any."""
    if not is_deployed(config):
        return check_small_models() if without_model(config) else []
    missing = without_model(config)
    if missing and len(missing) == len(served_lanes(config)):
        names = ", ".join(LANE_VARIABLES[lane] for lane in missing)
        return [fault("models", "no lane has a model", f"set at least one of {names}")]
    found = [
        warning("models", f"none for {lane}: the lane is not served", f"set {LANE_VARIABLES[lane]}")
        for lane in missing
    ]
    return [*found, *_second_models(config, missing)]


def check_small_models() -> list[Finding]:
    """The small models are here, or can be fetched."""
    try:
        shelf = open_shelf()
    except ConfigError as error:
        return [warning("small models", error.sentence, "name models instead")]
    missing = [model.name for model in shelf.models if not is_there(model)]
    if missing:
        cure = "run `ourvidz-worker models fetch`"
        return [warning("small models", f"missing: {', '.join(missing)}", cure)]
    return [well("small models", ", ".join(model.name for model in shelf.models))]


def _second_models(config: Config, missing: tuple[Lane, ...]) -> list[Finding]:
    """What a served lane cannot do without its second model."""
    served = set(served_lanes(config)) - set(missing)
    found = []
    if Lane.CHAT in served and config.chat_engine != "fake" and not config.qwen_base_path:
        told = "no Base model: qwen_base is refused, the _enhanced types run without continuation"
        found.append(warning("models", told, "set QWEN_BASE_PATH"))
    if Lane.VIDEO in served and config.video_engine != "fake" and not _takes_pictures(config):
        told = "no VACE model: videos with reference pictures fail"
        found.append(warning("models", told, "set WAN_VACE_MODEL_PATH"))
    return found


def _takes_pictures(config: Config) -> bool:
    """True with a VACE checkpoint, in its own setting or as the video model itself."""
    if config.wan_vace_model_path:
        return True
    settings = _json(Path(config.wan_model_path).expanduser() / "transformer" / "config.json")
    return settings is not None and "VACE" in str(settings.get("_class_name", ""))


def _model(variable: str, path: Path) -> list[Finding]:
    if not path.exists():
        cure = f"let {variable} name the model's folder or file"
        return [fault(variable, f"{path}: no such file or folder", cure)]
    files = safetensors_of(path)
    faults = [*_weights(variable, path, files), *_parts(variable, path)]
    if faults:
        return faults
    size = sum(file.stat().st_size for file in files) / GIGABYTE
    return [well(variable, f"{len(files)} files, {size:.2f} GB")]


def _weights(variable: str, path: Path, files: list[Path]) -> list[Finding]:
    if not files or any(file.suffix != WEIGHTS for file in files):
        told = "holds no safetensors" if path.is_dir() else "is no safetensors file"
        return [
            fault(variable, f"{path} {told}", "take the model in safetensors; no other is read")
        ]
    harms = ((file, damage(file)) for file in files)
    return [
        fault(variable, f"{file}: {harm}", "fetch the file again") for file, harm in harms if harm
    ]


def _parts(variable: str, path: Path) -> list[Finding]:
    """The folders and files that must lie beside the weights."""
    whole = "fetch the whole folder, not the weights alone"
    if path.is_file():
        if variable != "SDXL_MODEL_PATH":
            return [fault(variable, f"{path} is a single file", whole)]
        return _tokenizer(variable, path.parent, "put CLIP's tokenizer folder beside the file")
    found = [
        fault(variable, told, whole)
        for name in COMPONENTS[variable]
        if (told := _component(path / name))
    ]
    scheduler = path / "scheduler" / "scheduler_config.json"
    if variable == "SDXL_MODEL_PATH" and _json(scheduler) is None:
        found.append(fault(variable, f"{scheduler} is missing or malformed", whole))
    return [*found, *_tokenizer(variable, path, whole)]


def _component(folder: Path) -> str:
    """What one component lacks; empty when it is whole."""
    if not folder.is_dir():
        return f"{folder} is missing"
    if _json(folder / "config.json") is None:
        return f"{folder}/config.json is missing or malformed"
    if not any(folder.glob(f"*{WEIGHTS}")):
        return f"{folder} holds no safetensors"
    absent = sorted(
        {
            name
            for index in folder.glob(f"*{WEIGHTS}.index.json")
            for name in _pieces(index)
            if not (folder / name).is_file()
        }
    )
    return f"{folder} lacks {', '.join(absent)}" if absent else ""


def _pieces(index: Path) -> set[str]:
    try:
        return set(msgspec.json.decode(index.read_bytes(), type=Index).weight_map.values())
    except (OSError, msgspec.MsgspecError):
        return {f"a readable {index.name}"}


def _tokenizer(variable: str, root: Path, cure: str) -> list[Finding]:
    if variable not in TOKENIZERS:
        return []
    folder = root / TOKENIZERS[variable]
    if any(all((folder / name).is_file() for name in group) for group in TOKENIZER_FILES):
        bad = [file for file in sorted(folder.glob("tokenizer*.json")) if _json(file) is None]
        return [fault(variable, f"{file} is malformed", cure) for file in bad]
    return [fault(variable, f"{folder.resolve()} holds no tokenizer", cure)]


def _json(file: Path) -> dict[str, object] | None:
    """A JSON object; None when there is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return None
