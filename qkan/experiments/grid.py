"""Many independent runs: in parallel, with progress, each kept on disk as soon as it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qkan._progress import progress_bar
from qkan.errors import DataError, check_positive
from qkan.saving import write_atomic

#: A run: a function of a module, and its arguments in JSON types.
Run = tuple[Callable[..., dict[str, Any]], dict[str, Any]]


def run_all(runs: Mapping[str, Run], folder: Path, jobs: int = 1, progress: bool = True) -> dict[str, dict[str, Any]]:
    """Results by key. What ``folder`` holds already is read, the rest is computed in ``jobs`` processes.

    Every result is a file of its own, written when it is ready, so that an interrupted call goes on where it was. A
    file that was computed with other arguments is computed anew.

    Args:
        runs: by key; keys become file names.
        folder: where results are kept.
        jobs: processes.
        progress: show a progress bar.

    Raises:
        DataError: a result cannot be read or written.
    """
    from joblib import Parallel, delayed

    check_positive("jobs", jobs)
    folder.mkdir(parents=True, exist_ok=True)
    found = {key: kept for key, run in runs.items() if (kept := _kept(_file(folder, key), run)) is not None}
    missing = [key for key in runs if key not in found]
    with progress_bar(progress, "runs", len(runs), len(found)) as advance:
        parallel = Parallel(n_jobs=min(jobs, max(1, len(missing))), return_as="generator_unordered")
        for key, result in parallel(delayed(_call)(key, *runs[key]) for key in missing):
            content = {"arguments": runs[key][1], "result": result}
            write_atomic(_file(folder, key), json.dumps(content, indent=1).encode())
            found[key] = result
            advance(1, key)
    return {key: found[key] for key in runs}


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key.replace('/', '--')}.json"


def _kept(file: Path, run: Run) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        same = content["arguments"] == json.loads(json.dumps(run[1]))
        return content["result"] if same else None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{file} holds no result of a run; remove it, or choose another folder.") from None


def _call(key: str, function: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return key, function(**arguments)
