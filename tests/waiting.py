"""Waiting for other processes in tests."""

import os
import signal
import time
from pathlib import Path


def wait_for(condition, timeout_s=600):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def suspend(process):
    """Stops a child and waits until none of its threads runs any more."""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def is_alive(pid):
    """Whether a process runs; one that ended but that nobody has asked about does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
