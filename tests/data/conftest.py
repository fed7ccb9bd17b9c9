from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SITES = ("cleveland", "hungarian", "switzerland", "va")


@pytest.fixture(scope="session")
def heart_dir() -> Path:
    """The folder that holds the heart files themselves."""
    variable = os.environ.get("QKAN_DATA_DIR")
    if not variable:
        pytest.skip("QKAN_DATA_DIR is not set; the heart-disease files are needed")
    for folder in (Path(variable) / "heart", Path(variable)):
        if all((folder / f"processed.{site}.data").is_file() for site in SITES):
            return folder
    pytest.skip(f"QKAN_DATA_DIR={variable} does not hold the four processed.*.data files")


@pytest.fixture(scope="session")
def heart_csv(heart_dir: Path) -> Path:
    if not (heart_dir / "heart.csv").is_file():
        pytest.skip(f"{heart_dir} does not hold heart.csv")
    return heart_dir / "heart.csv"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder and no data folder."""
    monkeypatch.delenv("QKAN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "qkan"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served over HTTP on the loopback address in place of the UCI archive."""
    from qkan.data import heart

    folder = tmp_path / "archive"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(heart, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    try:
        yield folder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def frame() -> pd.DataFrame:
    """A table that passes every check: 30 rows, two numeric and one text column, two classes."""
    numbers = np.random.default_rng(0).normal(size=(30, 2)).round(3)
    return pd.DataFrame(
        {
            "a": numbers[:, 0],
            "b": numbers[:, 1],
            "colour": ["red", "green", "blue"] * 10,
            "y": ["no", "yes"] * 15,
        }
    )
