"""Finding data files on this machine, or fetching the heart-disease files once into the cache folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from qkan.errors import DataError

TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""
MAX_BYTES = 10_000_000
"""More is not read from the network; the largest of the files has 18 461 bytes."""


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/qkan``, or ``~/.cache/qkan``; not created here."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qkan"


def find(filename: str, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Where ``filename`` lies, directly in a folder or in its subfolder ``heart``.

    Only ``folder`` is searched if one is given; otherwise ``$QKAN_DATA_DIR``, then the cache folder.
    """
    if folder is not None:
        places = [Path(os.path.expanduser(folder))]
    else:
        variable = os.environ.get("QKAN_DATA_DIR")
        places = ([Path(os.path.expanduser(variable))] if variable else []) + [cache_dir()]
    for place in places:
        for candidate in (place / filename, place / "heart" / filename):
            if os.path.isfile(candidate):  # unlike Path.is_file, False where access is denied
                return candidate
    return None


class FetchError(Exception):
    """A download failed; the message is the reason, for the caller to put into its sentence."""


def check_sha256(what: object, data: bytes, sha256: str, advice: str) -> None:
    """Raise :class:`DataError` unless ``data`` has the checksum."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"{what} is not the original file: its sha256 checksum is {found}, but {sha256} is recorded; {advice}."
        )


def fetch(url: str) -> bytes:
    """The body at ``url``.

    Raises:
        FetchError: no connection, no answer in time, an HTTP error or a broken transfer.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            body: bytes = answer.read(MAX_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"HTTP status {error.code}") from None
    except urllib.error.URLError as error:
        raise FetchError(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(str(error) or type(error).__name__) from None
    return body


def store(data: bytes, destination: Path) -> None:
    """Write ``data`` so that ``destination`` never exists half-written.

    Raises:
        DataError: the folder cannot be created or written to.
    """
    temporary: str | None = None
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=destination.name, suffix=".part", dir=destination.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, destination)
        temporary = None
    except OSError as error:
        raise DataError(
            f"{destination} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder that can."
        ) from None
    finally:
        if temporary is not None:
            os.unlink(temporary)
