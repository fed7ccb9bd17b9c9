"""Run a contract where there is no test file, as in a notebook."""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qkan.errors import OptionError


@dataclass
class Verdict:
    """What the tests of a class said.

    Attributes:
        passed: names of tests, with what they ran on in brackets.
        failed: likewise, with errors before and after the test.
        skipped: likewise, those that do not apply.
    """

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest with the ``report`` of every test's preparation, run and end."""
        if report.when == "call" or not report.passed:
            getattr(self, report.outcome).append(report.nodeid.rpartition("::")[2])

    def __str__(self) -> str:
        counts = f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} do not apply"
        return "\n  failed: ".join([counts, *self.failed])


def run_contract(test_class: type) -> Verdict:
    """Run the tests of a class in this process, without a test file of your own; in a project let pytest find them.

    Args:
        test_class: derives from a contract and is defined at the top of a module or notebook; its name begins with
            "Test".

    Raises:
        OptionError: pytest finds no test in the class.
    """
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder, f"test_{Path(folder).name}.py")  # pytest keeps modules, so each needs a name of its own
        file.write_text(f"from {test_class.__module__} import {test_class.__name__}\n")
        options = [
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
            f"--rootdir={folder}",
            f"--basetemp={folder}/tmp",
        ]
        pytest.main([str(file), *options], plugins=[verdict])
    if not (verdict.passed or verdict.failed or verdict.skipped):
        raise OptionError(
            f"pytest finds no tests in {test_class.__qualname__}: it must derive from a contract, be defined at the "
            'top of its module, and have a name that begins with "Test".'
        )
    return verdict
