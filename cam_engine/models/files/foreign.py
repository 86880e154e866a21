"""What is no PyTorch checkpoint, told at a glance, and what to do instead, in a sentence each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType

from cam_engine.models.files.safetensors_headers import begins_as_safetensors

SAVE_AGAIN = (
    "where it was trained, save it again with torch.save({'model_state_dict': model.state_dict(), "
    "'model_name': ..., 'class_names': [...]}, path)"
)
_OF_KERAS = "a file of Keras, not of PyTorch, whose networks alone are explained here"
_OF_TENSORFLOW = "a file of TensorFlow, not of PyTorch, whose networks alone are explained here"
_UNPACK = "unpack it first"
_NO_GRADIENTS = (
    "a program made for inference, without what gradients need: name the checkpoint that it was "
    "exported from"
)
# How files begin.
_STARTS: Mapping[bytes, str] = MappingProxyType(
    {
        b"version https://git-lfs": "a pointer of Git LFS, not the file: fetch it with git lfs "
        "pull",
        b"\x89HDF": "an HDF5 file, as Keras writes them, and not of PyTorch",
        b"\x93NUMPY": "a NumPy array, not a checkpoint",
        b"\x89PNG": "a picture, not a checkpoint",
        b"\xff\xd8\xff": "a picture, not a checkpoint",
        b"%PDF": "a PDF, not a checkpoint",
        b"\x1f\x8b": f"compressed by gzip: {_UNPACK}",
        b"BZh": f"compressed by bzip2: {_UNPACK}",
        b"\xfd7zXZ": f"compressed by xz: {_UNPACK}",
        b"(\xb5/\xfd": f"compressed by zstd: {_UNPACK}",
        b"7z\xbc\xaf'\x1c": f"an archive of 7-Zip: {_UNPACK}",
        b"Rar!": f"an archive of RAR: {_UNPACK}",
        b"GGUF": "a file of GGUF, quantised for inference: name the checkpoint that it is from",
    }
)
_TEXTS: Mapping[bytes, str] = MappingProxyType(
    {
        b"<": "a web page or XML, not a checkpoint: download it again, with the file's own link",
        b"{": "text in JSON, not a checkpoint: name the file with the weights beside it",
    }
)
_TFLITE, _TFLITE_AT = b"TFL3", 4
_TAR, _TAR_AT = b"ustar", 257
_WORD = 8
_MOST_START = 512  # bytes
# By the end of a name, where the format itself cannot be told.
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        ".onnx": f"an ONNX file, {_NO_GRADIENTS}",
        ".engine": f"an engine of TensorRT, {_NO_GRADIENTS}",
        ".mlmodel": f"a model of Core ML, {_NO_GRADIENTS}",
        ".tflite": f"a model of TensorFlow Lite, {_NO_GRADIENTS}",
        ".pte": f"a program of ExecuTorch, {_NO_GRADIENTS}",
        ".keras": _OF_KERAS,
        ".h5": _OF_KERAS,
        ".pb": _OF_TENSORFLOW,
        ".ckpt.index": _OF_TENSORFLOW,
        ".distcp": "one part of a checkpoint that torch.distributed wrote in many: join them with "
        "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER best.pt",
    }
)
# Folders by a file that is in them.
_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "saved_model.pb": "a SavedModel of TensorFlow, not a checkpoint of PyTorch",
        ".metadata": "a checkpoint that torch.distributed wrote in many parts: join them with "
        "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER best.pt",
        "adapter_config.json": "an adapter of PEFT without its network: where it was trained, put "
        "it into the network with merge_and_unload(), and save that with save_pretrained",
    }
)
# Members of zips: what their names end with.
_MEMBERS: Mapping[str, str] = MappingProxyType(
    {
        "model.weights.h5": _OF_KERAS,
        "manifest.json": f"a package of Core ML, {_NO_GRADIENTS}",
        ".pt": f"an archive with checkpoints in it: {_UNPACK}",
        ".pth": f"an archive with checkpoints in it: {_UNPACK}",
        ".safetensors": f"an archive with checkpoints in it: {_UNPACK}",
        ".npy": "arrays of NumPy (npz), not a checkpoint",
    }
)
# Members of programs, which run where they are loaded: what their names end with.
_EXPORTED = ("archive_format", "serialized_exported_program.json")
_SCRIPTED = "/constants.pkl"
_ESTIMATORS = ("sklearn.", "xgboost.", "lightgbm.", "catboost.")
_QTENSOR = "._rebuild_qtensor"
_QUANTISED = (
    "a quantised network, which has no gradients: save it as it was before it was quantised"
)
# Ends of keys that are there together, and what undoes it.
_NORMED: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("weight_g", "weight_v"): "torch.nn.utils.remove_weight_norm",
        ("weight_orig", "weight_u"): "torch.nn.utils.remove_spectral_norm",
    }
)
_ADAPTERS = (".lora_", ".lokr_", ".loha_", ".oft_")


def foreign(file: BufferedReader, path: Path) -> str | None:
    """What the file is, where it begins as no checkpoint does; None where it may be one."""
    file.seek(0)
    begins = file.read(_MOST_START)
    file.seek(0)
    if begins_as_safetensors(begins):
        return None
    if not begins:
        return "empty (0 bytes): copy it again from where it was saved"
    if begins.startswith(_TFLITE, _TFLITE_AT):
        return _NAMES[".tflite"]
    if begins.startswith(_TAR, _TAR_AT):
        return f"an archive of tar: {_UNPACK}"
    starts = _STARTS if b"\0" in begins[:_WORD] else {**_STARTS, **_TEXTS}
    kinds = (what for start, what in starts.items() if begins.startswith(start))
    return next(kinds, None) or by_name(path)


def by_name(path: Path) -> str | None:
    """What a file of that name is, where it is no checkpoint whatever it holds."""
    name = path.name.lower()
    return next((what for end, what in _NAMES.items() if name.endswith(end)), None)


def foreign_folder(folder: Path) -> str | None:
    """What the folder is, where it holds a network that is not read here."""
    there = (what for name, what in _FOLDERS.items() if (folder / name).is_file())
    return next(there, None)


def foreign_zip(members: Collection[str]) -> str | None:
    """What a zip is that has no pickle, by its members' names in lower case."""
    return next(
        (what for end, what in _MEMBERS.items() if any(name.endswith(end) for name in members)),
        None,
    )


def program(members: Collection[str]) -> str | None:
    """What a zip is that has a program in it, by its members' names in lower case."""
    if any(name.endswith(_SCRIPTED) for name in members):
        return (
            "a TorchScript program: loading one runs code of the file, and its layers cannot be "
            "watched. Where you trust it, save its weights: torch.save({'model_state_dict': "
            "torch.jit.load(path).state_dict(), 'model_name': ..., 'class_names': [...]}, "
            "'best.pt')"
        )
    if is_exported(members):
        return (
            "a program of torch.export, and loading one can run code of the file: save the "
            "network's state dict in its place; on the command line, --trust-file loads it all "
            "the same"
        )
    return None


def is_exported(members: Collection[str]) -> bool:
    """Whether a zip with these members is what `torch.export.save` writes."""
    return any(name.rpartition("/")[2] in _EXPORTED for name in members)


def foreign_object(name: str) -> str | None:
    """What a pickled object is, by its class's name, where it is no network of PyTorch."""
    if name.startswith(_ESTIMATORS):
        library = name.partition(".")[0]
        return f"a model of {library}, which has no gradients and no layers to map"
    if name.startswith("transformers.training_args"):
        return "the settings of a training, not its weights: name model.safetensors beside it"
    return None


def foreign_weights(keys: Collection[str], names: Collection[str]) -> str | None:
    """What weights are that are no network's own, by their keys and what their pickle names."""
    if any(mark in key for key in keys for mark in _ADAPTERS):
        return _FOLDERS["adapter_config.json"]
    if any(name.endswith(_QTENSOR) for name in names):
        return _QUANTISED
    if any(".parametrizations." in key for key in keys):
        return (
            "a network with parametrised weights: before saving it, take them off with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    return next(
        (
            f"a network with normed weights: before saving it, take them off with {what}"
            for ends, what in _NORMED.items()
            for key in keys
            if key.endswith(ends[0]) and key.removesuffix(ends[0]) + ends[1] in keys
        ),
        None,
    )


def foreign_tensors(kinds: Collection[str]) -> str | None:
    """What tensors are that are not plain ones, by the names of what makes them."""
    if any("sparse" in kind for kind in kinds):
        return "sparse weights: before saving them, make them dense with to_dense()"
    return None
