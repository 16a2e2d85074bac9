"""Bytes that a mapping wrote after the last close(2), when the service does not take them: nobody is left to be told."""
import ctypes
import os

from harness import wait_for
from images import tiff

PROT_READ_WRITE, MAP_SHARED = 3, 1
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def write_late(path, data, late, gate, refused):
    """Store data, then change its last byte through a mapping while the service refuses."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, data)
    at = libc.mmap(None, len(data), PROT_READ_WRITE, MAP_SHARED, fd, 0)
    assert at not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
    os.close(fd)
    gate.refused = refused
    ctypes.memmove(at + len(data) - 1, late, 1)
    assert libc.munmap(at, len(data)) == 0


def test_an_image_is_kept_below_rejected(gated, gate):
    data = tiff(1)
    late = bytes([data[-1] ^ 1])
    write_late(gated.path / "inbox/flood/a.tif", data, late, gate, ("PUT", "/images/"))
    kept = gated.path / "rejected/flood/a.tif"
    wait_for("the bytes are kept", kept.exists, 30)
    assert kept.read_bytes() == data[:-1] + late
    assert kept.with_name("a.tif.reason").read_text().strip()
    assert (gated.path / "containers/ada/images/flood/a.tif").read_bytes() == data
    path = gated.path / "inbox/flood/a.tif"
    wait_for("the page cache has the stored bytes", lambda: path.read_bytes() == data, 20)


def test_elsewhere_the_log_names_the_file(gated, gate):
    (gated.path / "containers/plain").mkdir()
    write_late(gated.path / "containers/plain/f", b"0123456789", b"x", gate, ("PUT", "/plain/"))
    wait_for("the log says so", lambda: any(
        " error " in line and "'plain/f'" in line and "lost" in line
        for line in gated.log.read_text(errors="replace").splitlines()), 30)
    path = gated.path / "containers/plain/f"
    wait_for("the page cache has the stored bytes", lambda: path.read_bytes() == b"0123456789", 20)
