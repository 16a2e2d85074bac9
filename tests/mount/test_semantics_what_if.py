"""What adafs-files(7) says of situations: two machines, kills, full disks, read-only mounts."""
import errno
import os
import signal
import subprocess
import sys

import pytest

from harness import wait_for
from images import tiff, write_pipeline
from site_of_blobs import RENAME_NOREPLACE, errno_of, rename2

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def two(make_site):
    """Two machines with one account; beliefs last for a minute on both."""
    return make_site("attr_timeout=60", name="one"), make_site("attr_timeout=60", name="two")


def test_the_first_to_close_stands(two):
    one, other = two
    (one.dir / "f").write_text("base")
    a, b = open(one.dir / "f", "wb", buffering=0), open(other.dir / "f", "wb", buffering=0)
    a.write(b"one")
    b.write(b"other")
    a.close()
    assert errno_of(b.close) == errno.ESTALE
    assert one.blobs.get("data/f") == b"one"
    with open(other.dir / "f", "rb") as f:
        assert f.read() == b"one"


def test_both_make_one_name(two):
    one, other = two
    for d in (one.dir, other.dir):
        os.listdir(d)
    a, b = open(one.dir / "new", "xb", buffering=0), open(other.dir / "new", "xb", buffering=0)
    a.write(b"one")
    b.write(b"other")
    b.close()
    assert errno_of(a.close) == errno.ESTALE
    assert one.blobs.get("data/new") == b"other"


def test_both_make_one_directory_or_link(two):
    one, other = two
    for d in (one.dir, other.dir):
        os.listdir(d)
    os.mkdir(one.dir / "d")
    assert errno_of(lambda: os.mkdir(other.dir / "d")) == errno.EEXIST
    os.symlink("a", other.dir / "l")
    assert errno_of(lambda: os.symlink("b", one.dir / "l")) == errno.EEXIST
    (one.dir / "x").write_text("one")
    (other.dir / "y").write_text("other")
    assert errno_of(lambda: rename2(one.dir / "x", one.dir / "y", RENAME_NOREPLACE)) in (errno.EEXIST, errno.ESTALE)
    assert one.blobs.get("data/y") == b"other" and one.blobs.get("data/x") == b"one"


def test_an_open_sees_what_the_other_closed(make_site):
    one, other = make_site("attr_timeout=0", name="one"), make_site("attr_timeout=0", name="two")
    for i in range(10):
        text = f"turn {i}"
        writer, reader = (one, other) if i % 2 else (other, one)
        (writer.dir / "f").write_text(text)
        assert (reader.dir / "f").read_text() == text and (reader.dir / "f").stat().st_size == len(text)
        (writer.dir / "f").rename(writer.dir / "g")
        assert not (reader.dir / "f").exists() and (reader.dir / "g").read_text() == text
        (reader.dir / "g").unlink()
        assert os.listdir(writer.dir) == []


def test_a_file_that_the_other_deletes_does_not_come_back(two):
    one, other = two
    (one.dir / "f").write_text("base")
    assert (other.dir / "f").read_text() == "base"
    f = open(one.dir / "f", "r+b", buffering=0)
    f.write(b"edit")
    (other.dir / "f").unlink()
    assert errno_of(f.close) == errno.ESTALE
    assert one.blobs.names() == []


def test_a_killed_copy_leaves_the_old_version(site, tmp_path):
    (site.dir / "f").write_bytes(b"old")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cat = subprocess.Popen(["sh", "-c", f"exec cat '{fifo}' > '{site.dir}/f'"])
    with open(fifo, "wb", buffering=0) as f:
        f.write(b"x" * MIB)
        wait_for("bytes were written", lambda: (site.dir / "f").stat().st_size >= 900 * KIB)
        cat.send_signal(signal.SIGKILL)
        cat.wait()
    wait_for("the old version is seen", lambda: (site.dir / "f").stat().st_size == 3)
    assert site.blobs.get("data/f") == b"old" == (site.dir / "f").read_bytes()


def test_the_machine_dies(site):
    (site.dir / "closed").write_bytes(b"x" * MIB)
    fd = os.open(site.dir / "open", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"y" * MIB)
    site.mount.kill()
    with pytest.raises(OSError):
        os.close(fd)
    site.mount.start()
    assert os.listdir(site.dir) == ["closed"] and (site.dir / "closed").read_bytes() == b"x" * MIB


def test_a_full_disk_leaves_the_old_version_until_close(make_site):
    site = make_site("cache_size=16M", "block_size=1M", name="small")
    (site.dir / "f").write_bytes(b"old")
    fd = os.open(site.dir / "f", os.O_WRONLY)
    assert errno_of(lambda: [os.pwrite(fd, b"x" * MIB, i * MIB) for i in range(20)]) == errno.ENOSPC
    assert site.blobs.get("data/f") == b"old"
    os.ftruncate(fd, 10)
    os.close(fd)
    assert site.blobs.get("data/f") == b"x" * 10


def test_a_directory_that_loses_its_last_blob_elsewhere(make_site):
    site = make_site("attr_timeout=0")
    site.blobs.put("data/d/f", b"1")
    fd = os.open(site.dir / "d", os.O_RDONLY | os.O_DIRECTORY)
    site.blobs.call("DELETE", "data/d/f").close()
    assert os.listdir(site.dir) == [] and not (site.dir / "d").exists()
    assert os.listdir(f"/proc/self/fd/{fd}") == []
    os.close(fd)


def test_a_lazy_unmount_stores_what_is_open(site):
    fd = os.open(site.dir / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * MIB)
    subprocess.run(["fusermount3", "-uz", site.mount.path], check=True)
    os.write(fd, b"y")
    os.close(fd)
    assert site.blobs.get("data/f") == b"x" * MIB + b"y"
    assert site.mount.process_ends_within(30)


def test_a_read_only_mount(make_site):
    site = make_site(name="before")
    (site.dir / "f").write_text("x")
    os.symlink("f", site.dir / "link")
    os.setxattr(site.dir / "f", "user.a", b"1")
    (site.dir / "d").mkdir()
    ro = make_site("ro", name="ro")
    assert (ro.dir / "link").read_text() == "x" and os.getxattr(ro.dir / "f", "user.a") == b"1"
    for act in (lambda: open(ro.dir / "f", "w"), lambda: open(ro.dir / "new", "w"), lambda: os.mkdir(ro.dir / "e"),
                lambda: os.unlink(ro.dir / "f"), lambda: os.rmdir(ro.dir / "d"), lambda: os.rename(ro.dir / "f", ro.dir / "g"),
                lambda: os.symlink("f", ro.dir / "l"), lambda: os.setxattr(ro.dir / "f", "user.a", b"2"),
                lambda: os.removexattr(ro.dir / "f", "user.a"), lambda: os.chmod(ro.dir / "f", 0o600), lambda: os.utime(ro.dir / "f"),
                lambda: os.utime(ro.dir / "d"), lambda: os.truncate(ro.dir / "f", 0), lambda: os.mknod(ro.dir / "n"),
                lambda: os.link(ro.dir / "f", ro.dir / "h"), lambda: os.chown(ro.dir / "f", 0, 0)):
        assert errno_of(act) == errno.EROFS
    assert sorted(site.blobs.names()) == ["d", "f", "link"] and site.blobs.get("data/f") == b"x"


def test_metadata_that_changes_right_after_close_costs_no_job(make_mount, tmp_path):
    """As install(1), rsync -aX and file managers do it; each change gives the image another ETag."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    for i in range(4):
        path = m.path / f"inbox/flood/i{i}.tif"
        path.write_bytes(tiff(i))
        for k in range(6):
            try:
                path.chmod(0o600 + k)
                os.utime(path, ns=(10**18 + k, 10**18 + k))
                os.setxattr(path, "user.sensor", str(k).encode())
            except FileNotFoundError:  # its job has ended
                break
    jobs = m.wait_jobs(4)
    assert len(jobs) == 4 and set(jobs.values()) == {"completed"}


def test_a_program_that_is_interrupted_in_close_finds_its_file_stored_or_not(site):
    """Whatever close says, there is never half a file."""
    code = ("import os, signal, sys\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)\n"
            "for i in range(20):\n    fd = os.open(f'{sys.argv[1]}/f{i}', os.O_CREAT | os.O_WRONLY)\n"
            "    os.write(fd, bytes([i]) * 700000)\n    os.close(fd)\nsignal.setitimer(signal.ITIMER_REAL, 0)\n")
    subprocess.run([sys.executable, "-c", code, site.dir], check=True, timeout=60)
    for i in range(20):
        assert site.blobs.get(f"data/f{i}") == bytes([i]) * 700000
