"""Models on disk: safetensors for numbers, JSON for structure, never pickle.

A model is a folder with ``config.json`` and one weights file that ``config.json`` names together with its SHA-256.
The weights are written first and ``config.json`` replaces its predecessor in one step, so a reader sees either the
old model or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from qkan.errors import ModelFileError

#: What ``config.json`` calls itself.
FORMAT = "qkan-model"
#: Of the format; no other is read.
VERSION = 1


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file beside ``path`` and rename it: readers never see half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_folder(path: str | Path, kind: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Save ``config`` (JSON types) and ``tensors`` of any shape as a model folder of the given kind.

    Raises:
        ModelFileError: ``path`` is a file, or a folder that holds something else than a model.
    """
    from safetensors.torch import save

    folder = Path(path)
    if folder.is_file():
        raise ModelFileError(f"{folder} is a file; a model is saved as a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file():
        raise ModelFileError(f"{folder} holds files that are not a model; choose a new or empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    weights = f"weights-{digest[:12]}.safetensors"
    header = {"format": FORMAT, "version": VERSION, "kind": kind, "weights": weights, "sha256": digest}
    header["config_sha256"] = _digest(config)
    write_atomic(folder / weights, content)
    write_atomic(folder / "config.json", json.dumps({**header, "config": dict(config)}, indent=1).encode())
    for stale in folder.glob("weights-*.safetensors"):
        if stale.name != weights:
            stale.unlink()


def load_folder(path: str | Path, kind: str | None = None) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Read a model folder: (kind, config, tensors).

    Args:
        path: of the folder.
        kind: the kind of model that is wanted; ``None`` takes any.

    Raises:
        ModelFileError: nothing there, not a model, of another kind, from a newer version, or damaged.
    """
    from safetensors.torch import load

    folder = Path(path)
    header = _read_header(folder)
    if kind is not None and header["kind"] != kind:
        raise ModelFileError(f"{folder} holds a model of kind {header['kind']!r}, not {kind!r}.")
    weights = folder / str(header["weights"])
    if weights.parent != folder or not weights.is_file():
        raise ModelFileError(f"{folder} is incomplete: its weights file {header['weights']} is missing.")
    content = weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != header["sha256"]:
        raise ModelFileError(f"{weights} is damaged: its checksum is not the one recorded in config.json.")
    return header["kind"], header["config"], load(content)


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _read_header(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise ModelFileError(f"{folder} holds no saved model (there is no config.json in it).")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ModelFileError(f"{file} is damaged: it is not readable JSON.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelFileError(f"{file} does not describe a qkan model.")
    if header.get("version") != VERSION:
        raise ModelFileError(f"{file} has format version {header.get('version')!r}; this release reads {VERSION}.")
    missing = [key for key in ("kind", "weights", "sha256", "config_sha256", "config") if key not in header]
    if missing:
        raise ModelFileError(f"{file} is damaged: it lacks {', '.join(missing)}.")
    if _digest(header["config"]) != header["config_sha256"]:
        raise ModelFileError(f"{file} is damaged: its content is not what was saved.")
    return header
