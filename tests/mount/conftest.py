"""Fixtures of mounts whose service can be made to refuse."""
import pytest

from gateway import Gate
from images import write_pipeline
from site_of_blobs import make_site  # noqa: F401


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


@pytest.fixture
def site(make_site):
    return make_site("attr_timeout=60", "block_size=256K")


@pytest.fixture
def quick(make_site):
    """Beliefs last for a moment only: others' changes are seen at once."""
    return make_site("attr_timeout=0", "block_size=256K")
