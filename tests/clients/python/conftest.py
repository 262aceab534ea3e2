"""Starts the real binary; the tests talk to it with the official SDK."""

import contextlib
import os
import re
import signal
import subprocess

import openai
import pytest


@contextlib.contextmanager
def towergate(*args, command="demo", **env):
    """The proxy, by default in front of its simulated OpenAI, on a free port; yields its URL."""
    process = subprocess.Popen(
        [os.environ["TOWERGATE_BIN"], command, "--listen", "127.0.0.1:0", *args],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if found := re.search(r"listening on (http://\S+)", line):
                break
        else:
            raise AssertionError(f"the proxy did not start: exit code {process.wait()}")
        yield found.group(1)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        process.stdout.close()


@pytest.fixture(scope="session")
def url():
    # No retries of its own: what is tested is what the SDK makes of each answer.
    with towergate(OPENAI_MAX_RETRIES="0", OPENAI_TIMEOUT="2") as url:
        yield url


@pytest.fixture
def attempts():
    """Counts what the SDK sends."""
    return []


@pytest.fixture
def client(url, attempts):
    http = openai.DefaultHttpxClient(event_hooks={"request": [attempts.append]})
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", http_client=http) as client:
        yield client
