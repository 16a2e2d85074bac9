"""Fixtures of mounts whose service can be made to refuse."""
import pytest

from gateway import Gate
from images import write_pipeline


@pytest.fixture
def gate(emulator):
    """A proxy before the Blob service."""
    g = Gate(emulator.blob_endpoint())
    yield g
    g.shutdown()
    g.server_close()


@pytest.fixture
def gated(emulator, gate, make_mount, tmp_path):
    """A mount that reaches the Blob service through the gate; its pool never wakes."""
    parts = emulator.settings["AZURE_STORAGE_CONNECTION_STRING"]
    env = dict(emulator.settings)
    env["AZURE_STORAGE_CONNECTION_STRING"] = parts.replace(gate.service, f"127.0.0.1:{gate.server_port}")
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "pool=asleep", "attr_timeout=1", env=env).start()
    (m.path / "inbox/flood").mkdir()
    return m
