"""The boundary to IBM's service: accounts, devices, and which of its errors may pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qkan.errors import BackendUnavailable, JobError, QKANError, TransientError

#: HTTP answers after which the same request may succeed; -1 is the package's sign for no answer at all.
_PASSING = {-1, 408, 425, 429}


def require_package() -> None:
    """Raise unless qiskit-ibm-runtime is installed."""
    try:
        import qiskit_ibm_runtime  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            "backend 'ibm' needs the package qiskit-ibm-runtime: pip install 'qkan-toolkit[ibm]'."
        ) from error


def connect(channel: str | None, instance: str | None) -> Any:
    """A ``QiskitRuntimeService`` with the saved account.

    Raises:
        BackendUnavailable: no account is saved, or it is refused.
        TransientError: the service cannot be reached.
    """
    from qiskit_ibm_runtime import QiskitRuntimeService
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    try:
        return QiskitRuntimeService(channel=channel, instance=instance)
    except AccountNotFoundError as error:
        raise BackendUnavailable(
            "no IBM Quantum account is saved here; save yours once by "
            "qiskit_ibm_runtime.QiskitRuntimeService.save_account(token=..., instance=...)."
        ) from error
    except Exception as error:
        if may_pass(error):
            raise TransientError(f"IBM Quantum cannot be reached: {words(error)}.") from error
        raise BackendUnavailable(f"IBM Quantum does not accept the account: {words(error)}.") from error


def find_device(service: Any, name: str, instance: str | None) -> Any:
    """The service's backend of that name.

    Raises:
        BackendUnavailable: the account has none of that name.
        TransientError: the service cannot be reached.
    """
    from qiskit.providers.exceptions import QiskitBackendNotFoundError

    try:
        return service.backend(name, instance=instance)
    except QiskitBackendNotFoundError as error:
        listed = ", ".join(sorted(_names(service))[:6])
        others = f"it has {listed}" if listed else "names of simulated devices begin with Fake, such as FakeSherbrooke"
        raise BackendUnavailable(f"the account has no backend {name!r}; {others}.") from error
    except Exception as error:
        if may_pass(error):
            raise _sorted(error, f"backend {name!r}") from error
        raise BackendUnavailable(f"backend {name!r} cannot be used: {words(error)}.") from error


def _names(service: Any) -> list[str]:
    try:
        return [str(backend.name) for backend in service.backends()]
    except Exception:  # the list only makes an error's message more helpful
        return []


@contextmanager
def translated(subject: str, accepted: bool = False) -> Iterator[None]:
    """Turn the service's errors into ours, in one sentence about the subject, such as "job abc".

    Of a job that was ``accepted``, and so will be paid for, only its own end is final: another account, another network
    or another release of the package may still bring its results.
    """
    try:
        yield
    except QKANError:
        raise
    except Exception as error:
        raise _sorted(error, subject, accepted) from error


def _sorted(error: Exception, subject: str, accepted: bool = False) -> QKANError:
    if may_pass(error) or (accepted and not _ended(error)):
        return TransientError(f"{subject} cannot be reached now: {words(error)}.")
    return JobError(f"{subject} failed: {words(error)}.")


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: no connection, no time, or an error of the server."""
    from qiskit.providers.exceptions import JobTimeoutError
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    if _ended(error):
        return False
    for one in _chain(error):
        if isinstance(one, (NoConnection, Timeout, ConnectionError, TimeoutError, JobTimeoutError)):
            return True
        status = getattr(one, "status_code", None)
        if isinstance(status, int):
            return status in _PASSING or status >= 500
    return False


def _ended(error: BaseException) -> bool:
    """Whether a job ended without results, or does not exist."""
    from qiskit_ibm_runtime import exceptions

    final = (
        exceptions.RuntimeJobFailureError,
        exceptions.RuntimeInvalidStateError,
        exceptions.RuntimeJobMaxTimeoutError,
        exceptions.RuntimeJobNotFound,
    )
    return any(isinstance(one, final) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came from: the package wraps what the connection raised, at times "from None"."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def words(error: BaseException) -> str:
    """What an error says, as part of one line."""
    text = " ".join(str(getattr(error, "message", None) or error or type(error).__name__).split())
    return text[:300].strip("\"'").rstrip(".")
