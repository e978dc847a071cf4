"""One replay server for all tests of a session."""

import signal

import pytest

from tests.replay.reverb import replay_server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    tables = replay_server.TABLES + replay_server.TRANSITIONS
    directory = tmp_path_factory.mktemp("replay")
    running = replay_server.Server(directory, tables).wait_until_ready()
    yield running
    running.end(signal.SIGKILL)
