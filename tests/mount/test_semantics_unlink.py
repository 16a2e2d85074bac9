"""Files whose name goes while somebody has them open."""
import errno
import mmap
import os
import random
import sqlite3
import subprocess
import tempfile
import threading

import pytest

from harness import wait_for
from site_of_blobs import errno_of

KIB, MIB = 1024, 1024 * 1024


def put(site, name="f", size=3 * MIB):
    data = random.Random(size).randbytes(size)
    site.blobs.put("data/" + name, data)
    os.listdir(site.dir)
    return data


def test_a_reader_reads_on_after_unlink(site):
    data = put(site)
    with open(site.dir / "f", "rb", buffering=0) as f:
        assert f.read(4096) == data[:4096]
        os.unlink(site.dir / "f")
        assert os.listdir(site.dir) == [] and site.blobs.names() == []
        assert f.read(len(data)) == data[4096:]
        seen = os.fstat(f.fileno())
        assert seen.st_nlink == 0 and seen.st_size == len(data)
        (site.dir / "f").write_bytes(b"another")
        assert os.pread(f.fileno(), 100, MIB) == data[MIB:MIB + 100]
    assert (site.dir / "f").read_bytes() == b"another"


def test_a_mapping_reads_on_after_unlink(site):
    data = put(site)
    fd = os.open(site.dir / "f", os.O_RDONLY)
    with mmap.mmap(fd, len(data), prot=mmap.PROT_READ) as m:
        os.close(fd)
        os.unlink(site.dir / "f")
        assert m[:] == data


def test_a_reader_reads_on_when_another_file_takes_the_name(site):
    data = put(site)
    with open(site.dir / "f", "rb", buffering=0) as f:
        for turn in range(3):
            (site.dir / "new").write_text(f"turn {turn}")
            (site.dir / "new").rename(site.dir / "f")
            assert (site.dir / "f").read_text() == f"turn {turn}"
            assert os.pread(f.fileno(), 1000, turn * MIB) == data[turn * MIB:turn * MIB + 1000]
        assert os.fstat(f.fileno()).st_nlink == 0
        assert os.pread(f.fileno(), len(data), 0) == data
    assert site.blobs.names() == ["f"]


def test_a_reader_goes_with_a_renamed_file(site):
    data = put(site)
    with open(site.dir / "f", "rb", buffering=0) as f:
        os.rename(site.dir / "f", site.dir / "g")
        assert f.read(MIB) == data[:MIB]
        os.unlink(site.dir / "g")
        assert f.read(len(data)) == data[MIB:]


def test_a_reader_goes_with_a_renamed_directory(site):
    data = put(site, "d/e/f", 24 * MIB)
    with open(site.dir / "d/e/f", "rb", buffering=0) as f:
        assert f.read(100) == data[:100]
        os.rename(site.dir / "d", site.dir / "g")
        assert os.pread(f.fileno(), MIB, 20 * MIB) == data[20 * MIB:21 * MIB]
        os.unlink(site.dir / "g/e/f")
        assert os.pread(f.fileno(), 100, MIB) == data[MIB:MIB + 100]


def test_a_writer_goes_on_without_a_name(site):
    data = put(site)
    with open(site.dir / "f", "r+b", buffering=0) as f, open(site.dir / "f", "rb", buffering=0) as reader:
        os.unlink(site.dir / "f")
        os.pwrite(f.fileno(), b"new", 100)
        os.fsync(f.fileno())
        assert reader.read() == data[:100] + b"new" + data[103:]
        f.close()
        # The reader outlives the writer.
        assert os.pread(reader.fileno(), 10, 98) == data[98:100] + b"new" + data[103:108]
    assert site.blobs.names() == []


def test_temporary_files(site):
    with tempfile.TemporaryFile(dir=site.dir) as f:
        f.write(b"x" * MIB)
        f.seek(0)
        assert f.read() == b"x" * MIB
        os.ftruncate(f.fileno(), 10)
        assert os.fstat(f.fileno()).st_size == 10
    with tempfile.NamedTemporaryFile(dir=site.dir) as f:
        f.write(b"y" * MIB)
        f.flush()
        os.fsync(f.fileno())
        assert os.listdir(site.dir) == [os.path.basename(f.name)]
    wait_for("nothing is left", lambda: site.blobs.names() == [])


def test_metadata_of_a_file_without_a_name(site):
    put(site)
    with open(site.dir / "f", "rb") as f:
        os.unlink(site.dir / "f")
        os.fchmod(f.fileno(), 0o600)
        os.utime(f.fileno(), ns=(10**18, 10**18))
        os.setxattr(f.fileno(), "user.a", b"1")
        assert os.fstat(f.fileno()).st_mode & 0o777 == 0o600 and os.fstat(f.fileno()).st_mtime_ns == 10**18
    assert site.blobs.names() == []


def test_the_name_is_used_again_while_the_old_file_is_open(site):
    old = put(site, size=MIB)
    readers = []
    for turn in range(4):
        readers.append((open(site.dir / "f", "rb", buffering=0), old))
        os.unlink(site.dir / "f")
        old = bytes([turn]) * (600 * KIB)
        (site.dir / "f").write_bytes(old)
    for f, want in readers:
        assert f.read() == want
        f.close()


def test_space_is_given_back(make_site):
    site = make_site("cache_size=16M", "block_size=1M", name="small")
    put(site, size=6 * MIB)
    with open(site.dir / "f", "rb", buffering=0):
        os.unlink(site.dir / "f")
        free = os.statvfs(site.dir)
        assert free.f_bavail * free.f_frsize <= 10 * MIB
    wait_for("the space is free", lambda: (s := os.statvfs(site.dir)).f_bavail * s.f_frsize == 16 * MIB)


def test_a_file_too_large_to_keep_is_unlinked_all_the_same(make_site):
    site = make_site("cache_size=16M", "block_size=1M", name="small")
    data = put(site, size=20 * MIB)
    with open(site.dir / "f", "rb", buffering=0) as f:
        assert f.read(4096) == data[:4096]
        os.unlink(site.dir / "f")
        assert site.blobs.names() == []
        assert errno_of(lambda: os.pread(f.fileno(), 4096, 19 * MIB)) in (errno.ESTALE, errno.EIO)
        assert os.fstat(f.fileno()).st_size == len(data)


def test_a_service_that_refuses_leaves_reader_and_name(gated, gate):
    data = random.Random(1).randbytes(MIB)
    (gated.path / "containers/other").mkdir()
    (gated.path / "containers/other/f").write_bytes(data)
    with open(gated.path / "containers/other/f", "rb", buffering=0) as f:
        gate.refused = ("DELETE", "/other/f")
        assert errno_of(lambda: os.unlink(gated.path / "containers/other/f")) == errno.EACCES
        gate.refused = None
        assert f.read() == data and os.fstat(f.fileno()).st_nlink == 1
        with open(gated.path / "containers/other/f", "r+b", buffering=0) as w:
            w.write(b"new")
        assert os.pread(f.fileno(), 5, 0) == b"new" + data[3:5]
        os.unlink(gated.path / "containers/other/f")
        assert os.pread(f.fileno(), 5, 0) == b"new" + data[3:5]


def test_an_unlink_by_somebody_else(quick):
    data = put(quick, size=12 * MIB)
    with open(quick.dir / "f", "rb", buffering=0) as f:
        assert f.read(4096) == data[:4096]
        quick.blobs.call("DELETE", "data/f").close()
        assert os.fstat(f.fileno()).st_size == len(data)
        assert errno_of(lambda: os.pread(f.fileno(), 4096, 11 * MIB)) in (errno.ESTALE, errno.EIO)
        assert errno_of(lambda: open(quick.dir / "f")) == errno.ENOENT


def test_programs_that_remove_what_they_read(site, tmp_path):
    data = put(site, size=2 * MIB)
    out = subprocess.run(f"exec 3< {site.dir}/f; rm {site.dir}/f; cat <&3", shell=True, capture_output=True, check=True).stdout
    assert out == data
    db = sqlite3.connect(site.dir / "t.db")
    db.execute("PRAGMA temp_store_directory")
    db.execute("CREATE TABLE t (a)")
    with db:
        db.executemany("INSERT INTO t VALUES (?)", [(os.urandom(500),)] * 500)
    reader = sqlite3.connect(site.dir / "t.db")
    cursor = reader.execute("SELECT a FROM t")
    cursor.fetchone()
    os.unlink(site.dir / "t.db")
    assert len(cursor.fetchall()) == 499
    db.close()
    reader.close()


@pytest.mark.parametrize("way", ["unlink", "rename"])
def test_requests(site, way):
    put(site, size=MIB)
    (site.dir / "new").write_text("x")
    want = {"unlink": {"DeleteBlob": 1}, "rename": {"CopyBlob": 1, "DeleteBlob": 1}}[way]
    act = {"unlink": lambda: os.unlink(site.dir / "f"), "rename": lambda: os.rename(site.dir / "new", site.dir / "f")}[way]
    assert site.requests(act) == want


@pytest.mark.parametrize("how", ["utime", "chmod", "xattr", "rename"])
def test_reads_go_on_while_the_file_gets_another_version(site, how):
    """Metadata and names change the ETag, and not the content."""
    data = put(site, size=24 * MIB)
    turns = 60

    def change(i):
        path = site.dir / ("f" if how != "rename" or i % 2 == 0 else "g")
        if how == "utime":
            os.utime(path, ns=(i, 10**18 + i))
        elif how == "chmod":
            path.chmod(0o600 + i % 64)
        elif how == "xattr":
            os.setxattr(path, "user.turn", str(i).encode())
        else:
            path.rename(site.dir / ("g" if i % 2 == 0 else "f"))
    fd = os.open(site.dir / "f", os.O_RDONLY | os.O_DIRECT)
    done, failures = threading.Event(), []

    def read(seed):
        rnd, buffer = random.Random(seed), mmap.mmap(-1, 64 * KIB)
        while not done.is_set():
            at = rnd.randrange(0, len(data) - 64 * KIB, 4096)
            try:
                n = os.preadv(fd, [buffer], at)
                if buffer[:n] != data[at:at + n] or not n:
                    failures.append((at, n))
            except OSError as e:
                failures.append(e)
    readers = [threading.Thread(target=read, args=(k,)) for k in range(3)]
    for r in readers:
        r.start()
    for i in range(turns):
        change(i)
    done.set()
    for r in readers:
        r.join()
    os.close(fd)
    assert failures == []


def test_reads_go_on_while_directories_above_are_renamed(site):
    data = put(site, "d0/e/f", 12 * MIB)
    fd = os.open(site.dir / "d0/e/f", os.O_RDONLY | os.O_DIRECT)
    done, failures = threading.Event(), []

    def read():
        rnd, buffer = random.Random(1), mmap.mmap(-1, 64 * KIB)
        while not done.is_set():
            at = rnd.randrange(0, len(data) - 64 * KIB, 4096)
            try:
                n = os.preadv(fd, [buffer], at)
                if buffer[:n] != data[at:at + n] or not n:
                    failures.append((at, n))
            except OSError as e:
                failures.append(e)
    reader = threading.Thread(target=read)
    reader.start()
    for i in range(20):
        os.rename(site.dir / f"d{i}", site.dir / f"d{i + 1}")
        if i % 4 == 0:
            os.rename(site.dir / f"d{i + 1}/e", site.dir / f"d{i + 1}/g")
            os.rename(site.dir / f"d{i + 1}/g", site.dir / f"d{i + 1}/e")
    done.set()
    reader.join()
    os.close(fd)
    assert failures == [] and (site.dir / "d20/e/f").read_bytes() == data
