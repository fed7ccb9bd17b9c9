"""Ctrl-C stops a command, wherever it arrives."""

from __future__ import annotations

import subprocess
import sys

#: A compiler's callback during which Ctrl-C is pressed.
INTERRUPTED_CALLBACK = """
import ctypes, os, signal, time
from qkan.cli import _interrupt

signal.signal(signal.SIGINT, _interrupt)
source = "def notify():\\n    os.kill(os.getpid(), signal.SIGINT)\\n    return None\\n"
names = {"os": os, "signal": signal}
exec(compile(source, "/site-packages/llvmlite/binding/executionengine.py", "exec"), names)
callback = ctypes.CFUNCTYPE(None)(names["notify"])
try:
    callback()
    time.sleep(5)
    print("went on")
except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_while_kernels_are_compiled_is_not_lost():
    """Python runs the handler in the first callback of the compiler, and drops what a callback raises."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_CALLBACK], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("stopped\n", "")
