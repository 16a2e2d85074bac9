"""A rename is a copy and a delete: what stays when one of them fails."""
import ctypes
import errno
import os

import pytest

from gateway import Gate
from images import tiff, write_pipeline


@pytest.fixture
def gate(emulator):
    g = Gate(emulator.blob_endpoint())
    yield g
    g.shutdown()
    g.server_close()


@pytest.fixture
def mounted(emulator, gate, make_mount, tmp_path):
    parts = emulator.settings["AZURE_STORAGE_CONNECTION_STRING"]
    env = dict(emulator.settings)
    env["AZURE_STORAGE_CONNECTION_STRING"] = parts.replace(gate.service, f"127.0.0.1:{gate.server_port}")
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "pool=asleep", "attr_timeout=1", env=env).start()
    (m.path / "inbox/flood").mkdir()
    return m


def rename_noreplace(old, new):
    libc = ctypes.CDLL(None, use_errno=True)
    rc = libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), 1)
    assert rc == 0, os.strerror(ctypes.get_errno())


def names(m):
    return sorted(os.listdir(m.path / "containers/ada/images/flood")), sorted(os.listdir(m.path / "inbox/flood"))


def test_a_copy_without_a_reply(mounted, gate):
    """NOREPLACE: the repeated request meets its own result."""
    (mounted.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    gate.lost = ("PUT", "/flood/b.tif")
    rename_noreplace(mounted.path / "inbox/flood/a.tif", mounted.path / "inbox/flood/b.tif")
    assert gate.lost is None
    assert names(mounted) == (["b.tif"], ["b.tif"])
    assert (mounted.path / "inbox/flood/b.tif").read_bytes() == tiff(1)


def test_a_source_that_cannot_be_deleted_takes_its_copy_back(mounted, gate):
    (mounted.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    gate.refused = ("DELETE", "/flood/a.tif")
    with pytest.raises(OSError) as e:
        os.rename(mounted.path / "inbox/flood/a.tif", mounted.path / "inbox/flood/b.tif")
    assert e.value.errno == errno.EACCES
    assert names(mounted) == (["a.tif"], ["a.tif"])
    gate.refused = None
    os.rename(mounted.path / "inbox/flood/a.tif", mounted.path / "inbox/flood/b.tif")
    assert names(mounted) == (["b.tif"], ["b.tif"])


def test_a_delete_without_a_reply(mounted, gate):
    (mounted.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    gate.lost = ("DELETE", "/flood/a.tif")
    os.rename(mounted.path / "inbox/flood/a.tif", mounted.path / "inbox/flood/b.tif")
    assert gate.lost is None
    assert names(mounted) == (["b.tif"], ["b.tif"])
