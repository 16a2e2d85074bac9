"""Fixtures of the forty cases."""
import sys

import pytest

from harness import ROOT

sys.path.insert(0, str(ROOT / "tests" / "mount"))
from gateway import Gate  # noqa: E402
from images import gate, write_pipeline  # noqa: E402
from site_of_blobs import make_site  # noqa: E402,F401


@pytest.fixture
def mounted(make_mount, tmp_path):
    """A mount whose jobs run at once."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    return m


@pytest.fixture
def held(make_mount, tmp_path):
    """A mount whose jobs wait in their first step until the file `open` exists."""
    pipeline = write_pipeline(tmp_path / "gate.json", gate(tmp_path / "open"))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    yield m
    (tmp_path / "open").touch()


@pytest.fixture
def make_gate():
    """Proxies before a service that refuse, or answer as somebody else would."""
    made = []

    def make(endpoint, certificate=None):
        made.append(Gate(endpoint, certificate))
        return made[-1]
    yield make
    for g in made:
        g.let_go.set()
        g.shutdown()
        g.server_close()


@pytest.fixture
def gated(emulator, make_gate, make_mount, tmp_path):
    """A mount with a gate before each service: m.blob and m.batch."""
    blob, batch = make_gate(emulator.blob_endpoint()), make_gate(emulator.settings["AZURE_BATCH_ENDPOINT"])
    env = {k: v.replace(blob.service, f"127.0.0.1:{blob.server_port}").replace(batch.service, f"127.0.0.1:{batch.server_port}")
           for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "pool=local", "poll=0.1", "attr_timeout=0",
                   env=env).start()
    m.blob, m.batch = blob, batch
    (m.path / "inbox/flood").mkdir()
    return m
