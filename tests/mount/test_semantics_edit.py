"""Editing in place: modes of open(2), appending, sparse files, fallocate, O_DIRECT."""
import ctypes
import errno
import os
import random
import subprocess
import sys
import threading

import pytest

from harness import wait_for
from site_of_blobs import errno_of

KIB, MIB = 1024, 1024 * 1024


def test_modes_of_open(site):
    path = site.dir / "f"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.write(fd, b"0123456789")
    assert os.pread(fd, 4, 3) == b"3456"
    assert errno_of(lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)) == errno.EEXIST
    os.close(fd)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"x", 5)
    os.close(fd)
    assert path.read_bytes() == b"01234x6789"
    fd = os.open(path, os.O_WRONLY)
    assert errno_of(lambda: os.read(fd, 1)) == errno.EBADF
    os.close(fd)
    fd = os.open(path, os.O_RDONLY)
    assert errno_of(lambda: os.write(fd, b"x")) == errno.EBADF
    os.close(fd)
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
    assert path.read_bytes() == b"" == site.blobs.get("data/f")
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert errno_of(lambda: os.open(site.dir, os.O_RDWR)) == errno.EISDIR
    assert errno_of(lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY)) == errno.ENOTDIR
    assert errno_of(lambda: os.open(path / "x", os.O_RDONLY)) == errno.ENOTDIR
    assert errno_of(lambda: os.open(site.dir / "none" / "x", os.O_CREAT | os.O_WRONLY)) == errno.ENOENT


def test_opening_for_writing_alone_changes_nothing(site):
    data = os.urandom(MIB)
    site.blobs.put("data/f", data)
    os.listdir(site.dir)
    assert site.requests(lambda: os.close(os.open(site.dir / "f", os.O_RDWR))) == {}
    assert site.blobs.get("data/f") == data


def test_a_truncation_by_open_is_stored(site):
    path = site.dir / "f"
    path.write_bytes(b"x" * MIB)
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    wait_for("the empty file is stored", lambda: site.blobs.get("data/f") == b"")
    assert path.stat().st_size == 0


def test_two_appenders(site):
    """Whole lines of both, none lost."""
    code = ("import os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
            "for i in range(300): os.write(fd, f'{sys.argv[2]} {i}\\n'.encode())\nos.close(fd)\n")
    writers = [subprocess.Popen([sys.executable, "-c", code, site.dir / "log", name]) for name in "ab"]
    assert [w.wait(60) for w in writers] == [0, 0]
    lines = (site.dir / "log").read_text().splitlines()
    assert len(lines) == 600
    for name in "ab":
        assert [line for line in lines if line[0] == name] == [f"{name} {i}" for i in range(300)]
    assert site.blobs.get("data/log") == (site.dir / "log").read_bytes()


def test_append_to_a_file_of_somebody_else(quick):
    quick.blobs.put("data/log", b"one\n")
    for line in ("two", "three"):
        with open(quick.dir / "log", "a") as f:
            f.write(line + "\n")
    assert quick.blobs.get("data/log") == b"one\ntwo\nthree\n"


def test_shells_append(site):
    subprocess.run(f"for i in 1 2 3; do echo $i >> '{site.dir}/log'; done; (echo 4; echo 5) >> '{site.dir}/log'", shell=True, check=True)
    assert site.blobs.get("data/log") == b"1\n2\n3\n4\n5\n"


def test_truncate(site):
    path = site.dir / "f"
    path.write_bytes(b"abcdef")
    os.truncate(path, 3)
    assert site.blobs.get("data/f") == b"abc"
    os.truncate(path, 600 * KIB)
    assert site.blobs.get("data/f") == b"abc" + bytes(600 * KIB - 3)
    os.truncate(path, 0)
    assert path.stat().st_size == 0
    assert errno_of(lambda: os.truncate(path, -1)) == errno.EINVAL
    assert errno_of(lambda: os.truncate(path, 2**62)) == errno.EFBIG
    with open(path, "r+b", buffering=0) as f:
        f.write(b"x" * 100)
        os.ftruncate(f.fileno(), 50)
        os.ftruncate(f.fileno(), 100)
        assert os.pread(f.fileno(), 200, 0) == b"x" * 50 + bytes(50)
    assert site.blobs.get("data/f") == b"x" * 50 + bytes(50)


def test_sparse_files(site):
    path = site.dir / "f"
    with open(path, "w+b", buffering=0) as f:
        f.seek(5 * MIB)
        f.write(b"end")
        assert os.pread(f.fileno(), 10, 3 * MIB) == bytes(10)
    assert path.read_bytes() == bytes(5 * MIB) + b"end"
    fd = os.open(path, os.O_RDONLY)
    # No holes are told: all of it counts as data.
    assert os.lseek(fd, 100, os.SEEK_DATA) == 100 and os.lseek(fd, 100, os.SEEK_HOLE) == 5 * MIB + 3
    assert errno_of(lambda: os.lseek(fd, 6 * MIB, os.SEEK_DATA)) == errno.ENXIO
    os.close(fd)
    subprocess.run(["cp", "--sparse=always", path, site.dir / "g"], check=True)
    subprocess.run(["cmp", path, site.dir / "g"], check=True)


def test_fallocate(make_site):
    site = make_site("cache_size=16M", "block_size=1M", name="small")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

    def fallocate(mode, off, size):
        if libc.fallocate(fd, mode, off, size):
            raise OSError(ctypes.get_errno(), "fallocate")
    fd = os.open(site.dir / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"start")
    os.posix_fallocate(fd, 0, 3 * MIB)
    assert os.fstat(fd).st_size == 3 * MIB and os.pread(fd, 6, 0) == b"start\0"
    os.posix_fallocate(fd, 0, MIB)
    assert os.fstat(fd).st_size == 3 * MIB
    free = os.statvfs(site.dir)
    assert free.f_bavail * free.f_frsize <= 13 * MIB
    assert errno_of(lambda: fallocate(0, 0, 20 * MIB)) == errno.ENOSPC
    assert os.fstat(fd).st_size == 3 * MIB
    for mode in (1, 3, 8, 16, 32):  # keep size, punch a hole, collapse, zero, insert
        assert errno_of(lambda m=mode: fallocate(m, 0, MIB)) == errno.EOPNOTSUPP
    os.close(fd)
    assert site.blobs.get("data/f") == b"start" + bytes(3 * MIB - 5)
    (site.dir / "g").write_bytes(b"x")
    fd = os.open(site.dir / "g", os.O_RDONLY)
    assert errno_of(lambda: os.posix_fallocate(fd, 0, 10)) == errno.EBADF
    os.close(fd)


def test_o_direct(site):
    import mmap
    data = os.urandom(MIB)
    buffer = mmap.mmap(-1, MIB)
    buffer.write(data)
    fd = os.open(site.dir / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    assert os.write(fd, buffer) == MIB
    back = mmap.mmap(-1, MIB)
    assert os.preadv(fd, [back], 0) == MIB and back[:] == data
    os.close(fd)
    site.remount()
    fd = os.open(site.dir / "f", os.O_RDONLY | os.O_DIRECT)
    assert os.preadv(fd, [back], 0) == MIB and back[:] == data
    assert os.preadv(fd, [back], MIB) == 0
    os.close(fd)


def test_mknod(site):
    os.mknod(site.dir / "f", 0o600)
    assert (site.dir / "f").stat().st_mode & 0o777 == 0o600
    wait_for("the file is stored", lambda: site.blobs.names() == ["f"])
    assert errno_of(lambda: os.mknod(site.dir / "f")) == errno.EEXIST
    assert errno_of(lambda: os.mkfifo(site.dir / "fifo")) == errno.EPERM
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(site.dir)
        try:
            assert errno_of(lambda: s.bind("socket")) == errno.EPERM
        finally:
            os.chdir("/")
    (site.dir / "f").write_text("x")
    assert site.blobs.get("data/f") == b"x"


def test_fsync_is_durable(site):
    fd = os.open(site.dir / "f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"x" * MIB)
    os.fsync(fd)
    assert site.blobs.get("data/f") == b"x" * MIB
    os.write(fd, b"y")
    os.fdatasync(fd)
    assert site.blobs.get("data/f") == b"x" * MIB + b"y"
    os.write(fd, b"z")
    site.mount.kill()
    assert errno_of(lambda: os.close(fd)) == errno.ENOTCONN
    assert site.blobs.get("data/f") == b"x" * MIB + b"y"


def test_fsync_of_an_empty_file_and_of_directories(site):
    with open(site.dir / "f", "wb") as f:
        os.fsync(f.fileno())
        assert site.blobs.names() == ["f"]
    fd = os.open(site.dir, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    with open(site.dir / "f", "rb") as f:
        os.fsync(f.fileno())


def test_an_edit_reads_what_it_needs_not(site):
    """A few bytes into the middle of an old file: all of it stays, and the new version is whole."""
    data = bytearray(random.Random(9).randbytes(5 * MIB + 123))
    site.blobs.put("data/f", bytes(data))
    with open(site.dir / "f", "r+b", buffering=0) as f:
        for at in (0, 3 * MIB + 7, len(data) - 3, len(data) + 100):
            os.pwrite(f.fileno(), b"edit", at)
            data[len(data):] = bytes(max(0, at + 4 - len(data)))
            data[at:at + 4] = b"edit"
            assert os.pread(f.fileno(), 100, max(0, at - 50)) == bytes(data[max(0, at - 50):max(0, at - 50) + 100])
    assert site.blobs.get("data/f") == bytes(data)


def test_reader_and_writer_of_one_file(site):
    """What one process writes another one reads at once, by handle and by path."""
    path = site.dir / "f"
    path.write_bytes(b"a" * MIB)
    with open(path, "r+b", buffering=0) as w, open(path, "rb", buffering=0) as r:
        assert r.read(10) == b"a" * 10
        os.pwrite(w.fileno(), b"b" * 10, 0)
        assert os.pread(r.fileno(), 20, 0) == b"b" * 10 + b"a" * 10
        os.ftruncate(w.fileno(), 15)
        assert os.fstat(r.fileno()).st_size == 15 and path.stat().st_size == 15
        assert path.read_bytes() == b"b" * 10 + b"a" * 5
    assert path.read_bytes() == b"b" * 10 + b"a" * 5


def test_writers_in_threads_of_one_file(site):
    size, n = 64 * KIB, 8
    fd = os.open(site.dir / "f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size * n)

    def work(k):
        for i in range(0, size, 4096):
            os.pwrite(fd, bytes([k]) * 4096, k * size + i)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    os.close(fd)
    assert site.blobs.get("data/f") == b"".join(bytes([k]) * size for k in range(n))


@pytest.mark.parametrize("tool", [["cp"], ["cp", "--reflink=auto"], ["dd", "conv=sparse"], ["cat"]])
def test_copies_within_the_mount(site, tool):
    data = os.urandom(3 * MIB)
    (site.dir / "f").write_bytes(data)
    f, g = site.dir / "f", site.dir / "g"
    if tool[0] == "dd":
        subprocess.run([*tool, f"if={f}", f"of={g}", "bs=64K"], check=True, capture_output=True)
    elif tool[0] == "cat":
        subprocess.run(f"cat '{f}' > '{g}'", shell=True, check=True)
    else:
        subprocess.run([*tool, f, g], check=True)
    assert site.blobs.get("data/g") == data
