"""Close-to-open: what of others' changes is seen, when, and what it costs to know that nothing has changed."""
import errno
import mmap
import os
import threading

import pytest

from harness import wait_for
from site_of_blobs import errno_of

MIB = 1024 * 1024


def opened(path):
    """A descriptor that reads nothing ahead."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    return fd


def test_stat_sees_changes_of_others_within_the_default_timeout(make_site):
    site = make_site()
    site.blobs.put("data/f", b"first")
    assert (site.dir / "f").stat().st_size == 5
    site.blobs.put("data/f", b"the second")
    wait_for("the new size", lambda: (site.dir / "f").stat().st_size == 10, 5 + 1)
    site.blobs.call("DELETE", "data/f").close()
    wait_for("the file to be gone", lambda: not (site.dir / "f").exists(), 5 + 1)


def test_listings_see_changes_of_others_within_the_timeout(make_site):
    site = make_site("attr_timeout=1")
    os.listdir(site.dir)
    site.blobs.put("data/new", b"x")
    wait_for("the new file", lambda: "new" in os.listdir(site.dir), 1 + 1)


def test_an_unchanged_file_is_read_again_for_nothing_and_later_for_one_request(make_site):
    site = make_site("attr_timeout=1")
    data = os.urandom(3 * MIB)
    site.blobs.put("data/f", data)
    # Held open, so that its own age does not count.
    folder = os.open(site.dir, os.O_RDONLY | os.O_DIRECTORY)

    def read():
        fd = os.open("f", os.O_RDONLY, dir_fd=folder)
        assert b"".join(iter(lambda: os.read(fd, MIB), b"")) == data
        os.close(fd)

    def made():
        n = site.requests(read)
        seen.append(n)
        return n
    read()
    seen = []
    wait_for("a look at the service", made, 5)
    os.close(folder)
    assert len(seen) > 1 and not any(seen[:-1])
    assert sum(seen[-1].values()) == 1 and "GetBlob" not in seen[-1], seen[-1]


def test_a_change_that_keeps_the_size_is_seen_at_the_next_open(quick):
    path = quick.dir / "f"
    for byte in b"abcdefgh":
        content = bytes([byte]) * (MIB + 7)
        quick.blobs.put("data/f", content)
        assert path.read_bytes() == content
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == content


@pytest.mark.parametrize("how", ["replaced", "same size", "deleted"])
def test_an_open_handle_whose_version_is_gone_gets_estale(quick, how):
    old = os.urandom(12 * MIB)
    quick.blobs.put("data/f", old)
    fd = opened(quick.dir / "f")
    try:
        assert os.pread(fd, 4096, 0) == old[:4096]
        if how == "deleted":
            quick.blobs.call("DELETE", "data/f").close()
        else:
            quick.blobs.put("data/f", os.urandom(12 * MIB if how == "same size" else 100))
        assert errno_of(lambda: os.pread(fd, 65536, 8 * MIB)) == errno.ESTALE
        # What came before is still what it was.
        assert os.pread(fd, 4096, 0) == old[:4096]
    finally:
        os.close(fd)


def test_two_handles_of_two_versions_do_not_mix(quick):
    first, second = os.urandom(2 * MIB), os.urandom(2 * MIB)
    quick.blobs.put("data/f", first)
    a = opened(quick.dir / "f")
    assert os.pread(a, MIB, 0) == first[:MIB]
    quick.blobs.put("data/f", second)
    b = opened(quick.dir / "f")
    try:
        assert os.pread(b, 2 * MIB, 0) == second
        assert os.pread(a, MIB, 0) == first[:MIB]
    finally:
        os.close(a)
        os.close(b)


def test_readers_while_somebody_replaces(quick):
    """Each read from open to close is of one version, or ends with ESTALE."""
    versions = [bytes([n]) * (2 * MIB) for n in range(1, 7)]
    quick.blobs.put("data/f", versions[0])
    over, mixed, whole = threading.Event(), [], []

    def read_on():
        while not over.is_set():
            seen = b""
            try:
                with open(quick.dir / "f", "rb", buffering=0) as f:
                    while part := f.read(256 * 1024):
                        seen += part
                whole.append(len(seen))
            except OSError as e:
                if e.errno != errno.ESTALE:
                    mixed.append(e)
            if len(set(seen)) > 1:
                mixed.append(set(seen))

    readers = [threading.Thread(target=read_on) for _ in range(4)]
    for r in readers:
        r.start()
    try:
        for content in versions * 3:
            n = len(whole)
            quick.blobs.put("data/f", content)
            wait_for("somebody to read it", lambda n=n: len(whole) > n)
    finally:
        over.set()
        for r in readers:
            r.join()
    assert not mixed and set(whole) == {2 * MIB}


def test_a_small_file_costs_one_request(quick):
    quick.blobs.put("data/f", b"x" * 100_000)
    quick.remount()
    os.listdir(quick.dir)
    fd = None

    def read():
        nonlocal fd
        fd = os.open(quick.dir / "f", os.O_RDONLY)
        assert os.read(fd, 200_000) == b"x" * 100_000
    made = quick.requests(read)
    os.close(fd)
    assert made.get("GetBlob") == 1 and "GetBlobProperties" not in made, made
