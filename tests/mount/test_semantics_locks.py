"""Locks and shared mappings among the processes of this machine."""
import errno
import fcntl
import mmap
import os
import sqlite3
import subprocess
import sys

from harness import wait_for
from site_of_blobs import errno_of

KIB, MIB = 1024, 1024 * 1024


def other(code, path):
    return subprocess.run([sys.executable, "-c", "import fcntl, os, sys, mmap\nf = open(sys.argv[1], 'r+b')\n" + code, path],
                          capture_output=True, text=True, timeout=30)


def test_flock(site):
    (site.dir / "f").write_text("x")
    take = "fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with open(site.dir / "f") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert "BlockingIOError" in other(take, site.dir / "f").stderr
        fcntl.flock(f, fcntl.LOCK_SH)
        assert other("fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)", site.dir / "f").returncode == 0
    assert other(take, site.dir / "f").returncode == 0


def test_fcntl_locks(site):
    (site.dir / "f").write_bytes(b"x" * 100)
    with open(site.dir / "f", "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX, 10, 20)
        assert "BlockingIOError" in other("fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 25)", site.dir / "f").stderr
        assert other("fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 30)", site.dir / "f").returncode == 0


def test_lock_files(site):
    """As many programs do it: O_EXCL and link-less."""
    path = site.dir / "lock"
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert errno_of(lambda: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)) == errno.EEXIST
    os.close(fd)
    path.unlink()
    os.mkdir(path)
    assert errno_of(lambda: os.mkdir(path)) == errno.EEXIST
    os.rmdir(path)


def test_a_shared_mapping(site):
    path = site.dir / "f"
    path.write_bytes(bytes(MIB))
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), MIB) as m:
        m[:5] = b"first"
        m[MIB - 4:] = b"last"
        m.flush()
        assert other("print(f.read(5))", path).stdout == "b'first'\n"
        os.fsync(f.fileno())
        assert site.blobs.get("data/f") == b"first" + bytes(MIB - 9) + b"last"
        m[10:14] = b"more"
    wait_for("what the mapping wrote last is stored", lambda: site.blobs.get("data/f")[:14] == b"first" + bytes(5) + b"more")


def test_msync_is_durable(site):
    path = site.dir / "f"
    path.write_bytes(bytes(100 * KIB))
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 100 * KIB) as m:
        m[50 * KIB:50 * KIB + 3] = b"abc"
        m.flush()
        assert site.blobs.get("data/f")[50 * KIB:50 * KIB + 3] == b"abc"


def test_two_processes_map_one_file(site):
    path = site.dir / "f"
    path.write_bytes(bytes(8192))
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 8192) as m:
        done = other("m = mmap.mmap(f.fileno(), 8192)\nm[4096:4100] = b'done'\nm.flush()\n", path)
        assert done.returncode == 0, done.stderr
        assert m[4096:4100] == b"done"


def test_a_private_mapping_writes_nothing(site):
    path = site.dir / "f"
    path.write_bytes(b"x" * 4096)
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as m:
        m[:3] = b"new"
    assert site.blobs.get("data/f") == b"x" * 4096


def test_sqlite_in_two_processes(site):
    path = site.dir / "t.db"
    db = sqlite3.connect(path, timeout=30)
    db.execute("CREATE TABLE t (who TEXT, n INTEGER)")
    db.commit()
    code = ("import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=60)\n"
            "for i in range(15):\n    with db:\n        db.execute('INSERT INTO t VALUES (?, ?)', (sys.argv[2], i))\n")
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name]) for name in "abc"]
    assert [w.wait(120) for w in writers] == [0, 0, 0]
    assert db.execute("SELECT count(*) FROM t").fetchone() == (45,)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    site.remount()
    db = sqlite3.connect(path)
    assert db.execute("SELECT who, count(*) FROM t GROUP BY who").fetchall() == [("a", 15), ("b", 15), ("c", 15)]
    db.close()


def test_what_was_just_written_can_be_mapped(site):
    """close(2) returns before the kernel tells the mount of it."""
    for i in range(60):
        path = site.dir / f"f{i % 3}"
        path.write_bytes(bytes([i]) * 9000)
        with open(path, "r+b") as f, mmap.mmap(f.fileno(), 9000) as m:
            assert m[:] == bytes([i]) * 9000
            m[0] = 255
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 9000, prot=mmap.PROT_READ) as m:
            assert m[:2] == bytes([255, i])


def test_a_file_that_is_being_written_is_read_and_mapped(site):
    path = site.dir / "f"
    with open(path, "wb", buffering=0) as w:
        w.write(b"a" * 10000)
        with open(path, "rb", buffering=0) as r:
            assert r.read(20000) == b"a" * 10000
            with mmap.mmap(r.fileno(), 10000, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as m:
                assert m[:] == b"a" * 10000
            w.write(b"b" * 100)
            assert r.read() == b"b" * 100
