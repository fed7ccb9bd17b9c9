"""Many independent runs: in parallel, with progress, each kept on disk as soon as it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qkan._progress import progress_bar
from qkan.errors import BackendUnavailable, DataError, check_choice, check_positive
from qkan.saving import write_atomic

#: A run: a function of a module, and its arguments in JSON types.
Run = tuple[Callable[..., dict[str, Any]], dict[str, Any]]


#: Back ends of joblib; the last two need a package of that name (for Dask, its part "distributed").
BACKENDS = ("loky", "threading", "dask", "ray")
#: Runs that Ray is given at a time: joblib's back end for it returns nothing before all are done.
WHOLE_LIST = 200


def run_all(
    runs: Mapping[str, Run], folder: Path, jobs: int = 1, progress: bool = True, backend: str = "loky"
) -> dict[str, dict[str, Any]]:
    """Results by key. What ``folder`` holds already is read, the rest is computed in ``jobs`` processes.

    Every result is a file of its own, written when it is ready, so that an interrupted call goes on where it was. A
    file that was computed with other arguments is computed anew.

    Args:
        runs: by key; keys become file names.
        folder: where results are kept.
        jobs: processes.
        progress: show a progress bar.
        backend: one of :data:`BACKENDS`. "dask" and "ray" use the cluster that their own configuration names
            (``DASK_SCHEDULER_ADDRESS``, ``RAY_ADDRESS``), else ``jobs`` processes here.

    Raises:
        DataError: a result cannot be read or written.
        OptionError: an unknown back end, or fewer jobs than one.
        BackendUnavailable: Dask or Ray is not installed.
    """
    check_positive("jobs", jobs)
    check_choice("backend", backend, BACKENDS)
    folder.mkdir(parents=True, exist_ok=True)
    found = {key: kept for key, run in runs.items() if (kept := _kept(_file(folder, key), run)) is not None}
    missing = [key for key in runs if key not in found]
    todo = [(key, *runs[key]) for key in missing]
    with _workers(backend, jobs) as count, progress_bar(progress, "runs", len(runs), len(found)) as advance:
        for key, result in _done(todo, count, whole_lists=backend == "ray"):
            content = {"arguments": runs[key][1], "result": result}
            write_atomic(_file(folder, key), json.dumps(content, indent=1).encode())
            found[key] = result
            advance(1, key)
    return {key: found[key] for key in runs}


def _done(todo: list[tuple[Any, ...]], count: int, whole_lists: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keys and results as they are ready; where the back end returns whole lists only, list by list.

    Runs are never batched: results come back by batches, so that one would be kept only after its whole batch.
    """
    from joblib import Parallel, delayed

    if not whole_lists:
        parallel = Parallel(n_jobs=count, batch_size=1, return_as="generator_unordered")
        yield from parallel(delayed(_call)(*one) for one in todo)
        return
    for start in range(0, len(todo), WHOLE_LIST):
        some = todo[start : start + WHOLE_LIST]
        yield from Parallel(n_jobs=count, batch_size=1)(delayed(_call)(*one) for one in some)


@contextmanager
def _workers(backend: str, jobs: int) -> Iterator[int]:
    """Joblib's back end, with a cluster where it needs one; how many workers to use, -1 for all of the cluster."""
    from joblib import parallel_config

    if backend in ("dask", "ray") and find_spec({"dask": "distributed"}.get(backend, backend)) is None:
        package = {"dask": "dask[distributed]"}.get(backend, backend)
        raise BackendUnavailable(f"backend={backend!r} needs the package {package!r}, which is not installed.")
    count = jobs
    with ExitStack() as stack:
        if backend == "dask":
            from dask import config
            from distributed import Client

            count = -1 if config.get("scheduler-address", None) else jobs
            here = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
            stack.enter_context(Client(**({} if count == -1 else here)))
        if backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            count = -1 if os.environ.get("RAY_ADDRESS") else jobs
            if not ray.is_initialized():
                ray.init(**({} if count == -1 else {"num_cpus": jobs, "include_dashboard": False}))
                stack.callback(ray.shutdown)
            register_ray()
        stack.enter_context(parallel_config(backend=backend))
        yield count


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
