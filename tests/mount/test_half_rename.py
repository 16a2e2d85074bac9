"""A rename is a copy and a delete: what stays when one of them fails."""
import ctypes
import errno
import os

import pytest

from images import tiff


def rename_noreplace(old, new):
    libc = ctypes.CDLL(None, use_errno=True)
    rc = libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), 1)
    assert rc == 0, os.strerror(ctypes.get_errno())


def names(m):
    return sorted(os.listdir(m.path / "containers/ada/images/flood")), sorted(os.listdir(m.path / "inbox/flood"))


def test_a_copy_without_a_reply(gated, gate):
    """NOREPLACE: the repeated request meets its own result."""
    (gated.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    gate.lost = ("PUT", "/flood/b.tif")
    rename_noreplace(gated.path / "inbox/flood/a.tif", gated.path / "inbox/flood/b.tif")
    assert gate.lost is None
    assert names(gated) == (["b.tif"], ["b.tif"])
    assert (gated.path / "inbox/flood/b.tif").read_bytes() == tiff(1)


def test_a_source_that_cannot_be_deleted_takes_its_copy_back(gated, gate):
    (gated.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    gate.refused = ("DELETE", "/flood/a.tif")
    with pytest.raises(OSError) as e:
        os.rename(gated.path / "inbox/flood/a.tif", gated.path / "inbox/flood/b.tif")
    assert e.value.errno == errno.EACCES
    assert names(gated) == (["a.tif"], ["a.tif"])
    gate.refused = None
    os.rename(gated.path / "inbox/flood/a.tif", gated.path / "inbox/flood/b.tif")
    assert names(gated) == (["b.tif"], ["b.tif"])


def test_a_delete_without_a_reply(gated, gate):
    (gated.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    gate.lost = ("DELETE", "/flood/a.tif")
    os.rename(gated.path / "inbox/flood/a.tif", gated.path / "inbox/flood/b.tif")
    assert gate.lost is None
    assert names(gated) == (["b.tif"], ["b.tif"])
