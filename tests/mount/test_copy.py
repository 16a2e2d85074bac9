"""copy_file_range(2): the service copies, and where it cannot the bytes are moved."""
import os
import subprocess

import pytest

from harness import wait_for

KIB = 1024
DATA = bytes(range(256)) * 4 * KIB  # four blocks of the site


@pytest.fixture
def source(site):
    (site.dir / "a").write_bytes(DATA)
    os.listdir(site.dir)
    return site.dir / "a"


def cp(*args):
    subprocess.run(["cp", *map(str, args)], check=True, timeout=60)


def copy_range(source, target, count, off_in=0, off_out=0, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    with open(source, "rb") as f:
        fd = os.open(target, flags, 0o644)
        try:
            done = 0
            while done < count:
                n = os.copy_file_range(f.fileno(), fd, count - done, off_in + done, off_out + done)
                if not n:
                    break
                done += n
        finally:
            os.close(fd)
    return done


def test_cp_is_one_request(site, source):
    assert site.requests(lambda: cp(source, site.dir / "b")) == {"CopyBlob": 1}
    assert (site.dir / "b").read_bytes() == DATA and site.blobs.get("data/b") == DATA
    assert (site.dir / "b").stat().st_size == len(DATA)


def test_cp_over_a_file_and_with_its_times(site, source):
    (site.dir / "b").write_bytes(b"old")
    os.utime(source, (1_000_000_000, 1_000_000_000))
    os.chmod(source, 0o755)
    made = site.requests(lambda: cp("-p", source, site.dir / "b"))
    assert made.pop("CopyBlob") == 1 and not {"PutBlob", "PutBlock", "GetBlob"} & made.keys()
    site.remount()
    st = (site.dir / "b").stat()
    assert (st.st_mtime, st.st_mode & 0o777, st.st_size) == (1_000_000_000, 0o755, len(DATA))
    assert (site.dir / "b").read_bytes() == DATA


def test_a_copy_can_be_written_on(site, source):
    cp(source, site.dir / "b")
    with open(source, "rb") as f, open(site.dir / "c", "w+b") as g:
        assert os.copy_file_range(f.fileno(), g.fileno(), len(DATA)) == len(DATA)
        assert os.pread(g.fileno(), 10, 300 * KIB) == DATA[:10]
        os.pwrite(g.fileno(), b"new", 5)
        os.pwrite(g.fileno(), b"more", len(DATA))
    want = DATA[:5] + b"new" + DATA[8:] + b"more"
    assert (site.dir / "c").read_bytes() == want and site.blobs.get("data/c") == want
    assert source.read_bytes() == DATA and (site.dir / "b").read_bytes() == DATA


@pytest.mark.parametrize("count, off_in, off_out", [(1000, 0, 0), (len(DATA), 0, 7), (len(DATA) - 9, 9, 0)])
def test_parts_are_moved(site, source, count, off_in, off_out):
    assert copy_range(source, site.dir / "b", count, off_in, off_out) == count
    assert (site.dir / "b").read_bytes() == bytes(off_out) + DATA[off_in:off_in + count]


def test_into_a_file_with_content(site, source):
    (site.dir / "b").write_bytes(b"x" * (len(DATA) + 5))
    assert copy_range(source, site.dir / "b", len(DATA), flags=os.O_WRONLY) == len(DATA)
    assert (site.dir / "b").read_bytes() == DATA + b"x" * 5


def test_a_source_that_is_being_written(site):
    with open(site.dir / "a", "wb") as f:
        f.write(DATA)
        f.flush()
        assert copy_range(site.dir / "a", site.dir / "b", len(DATA)) == len(DATA)
    assert (site.dir / "b").read_bytes() == DATA


def test_the_version_that_was_opened_is_copied_or_nothing(site, source):
    with open(source, "rb") as f:
        site.blobs.put("data/a", b"changed")
        fd = os.open(site.dir / "b", os.O_WRONLY | os.O_CREAT, 0o644)
        with pytest.raises(OSError):
            while os.copy_file_range(f.fileno(), fd, len(DATA)):
                pass
        os.close(fd)
    assert not site.blobs.exists("data/b") or site.blobs.get("data/b") == b""


def test_another_container_and_the_inbox(site, source):
    (site.root / "other").mkdir()
    assert site.requests(lambda: cp(source, site.root / "other" / "b")).get("CopyBlob") == 1
    assert (site.root / "other" / "b").read_bytes() == DATA
    # What is put into the inbox has to pass its check.
    r = subprocess.run(["cp", source, site.mount.path / "inbox" / "a.tif"], capture_output=True, text=True)
    assert r.returncode and "Bad message" in r.stderr
    wait_for("its bytes are kept", lambda: (site.mount.path / "rejected" / "default" / "a.tif.reason").exists())
