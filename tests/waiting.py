"""Waiting for other processes in tests."""

import os
import signal
import time

from benchmarks import launched_run

is_alive = launched_run.is_alive


def wait_for(condition, timeout_s=600):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def suspend(process):
    """Stops a child and waits until none of its threads runs any more."""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
