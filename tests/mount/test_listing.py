"""Large directories: requests, memory, places that stay, and what is seen while a listing is under way."""
import ctypes
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from harness import program, wait_for
from list_server import PAGE, ListServer, name_of

MIB = 1024


@pytest.fixture
def server():
    s = ListServer()
    yield s
    s.go_on.set()
    s.shutdown()
    s.server_close()


@pytest.fixture
def make_lists(make_mount, server):
    """containers/lists of a mount on the server of listings."""
    def make(*options):
        m = make_mount("container=lists", *options, env=server.environment()).start()
        (m.path / "containers/lists").stat()
        return m, m.path / "containers/lists"
    return make


@pytest.fixture
def lists(make_lists):
    return make_lists("attr_timeout=60")[1]


def asked(server, action):
    """Pages and single names that were asked for while action ran."""
    pages, others = len(server.pages), server.others
    action()
    return len(server.pages) - pages, server.others - others


def ls_l(path):
    done = subprocess.run(["ls", "-l", str(path)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[1:]


def test_a_cold_listing_costs_a_request_a_page_and_a_warm_one_nothing(server, lists):
    seen = []
    lists.joinpath("n12000").stat()
    assert asked(server, lambda: seen.extend(ls_l(lists / "n12000"))) == (3, 0)
    assert len(seen) == 12000 and seen[7].split()[4] == "7" and seen[-1].endswith(name_of(11999))
    assert asked(server, lambda: ls_l(lists / "n12000")) == (0, 0)
    assert asked(server, lambda: (lists / "n12000" / name_of(11000)).stat()) == (0, 0)
    assert asked(server, lambda: (lists / "n12000/none").exists()) == (0, 0)


def test_first_names_are_there_before_the_last_page(server, lists):
    server.hold_from = PAGE
    with os.scandir(lists / "n15000") as names:
        first = [next(names) for _ in range(PAGE - 1)]
        assert [e.name for e in first[:3]] == [name_of(0), name_of(1), name_of(2)]
        assert (lists / "n15000" / name_of(77)).stat().st_size == 77
        assert 2 * PAGE not in server.pages
        server.go_on.set()
        assert len(first) + sum(1 for _ in names) == 15000
    assert server.pages == [0, PAGE, 2 * PAGE]


def test_readers_at_once_share_a_listing(server, lists):
    server.hold_from = PAGE
    counts = []
    readers = [threading.Thread(target=lambda: counts.append(len(os.listdir(lists / "n12000")))) for _ in range(4)]
    for r in readers:
        r.start()
    wait_for("the second page is asked for", lambda: PAGE in server.pages, 20)
    server.go_on.set()
    for r in readers:
        r.join(60)
    assert counts == [12000] * 4
    assert sorted(server.pages) == [0, PAGE, 2 * PAGE]


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]


class Dir:
    """opendir(3) with its places."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.opendir.restype = ctypes.c_void_p
        self.libc.readdir.restype = ctypes.POINTER(Dirent)
        self.libc.telldir.restype = ctypes.c_long
        self.dir = ctypes.c_void_p(self.libc.opendir(os.fsencode(path)))
        assert self.dir

    def read(self, n):
        names = []
        while len(names) < n and (entry := self.libc.readdir(self.dir)):
            name = ctypes.string_at(ctypes.addressof(entry.contents) + 19)
            if name not in (b".", b".."):
                names.append(name.decode())
        return names

    def tell(self):
        return self.libc.telldir(self.dir)

    def seek(self, place):
        self.libc.seekdir(self.dir, ctypes.c_long(place))

    def rewind(self):
        self.libc.rewinddir(self.dir)

    def close(self):
        self.libc.closedir(self.dir)


def test_places_stay_while_the_directory_changes(lists):
    d = Dir(lists / "n12000")
    before = d.read(7000)
    place = d.tell()
    then = d.read(400)
    for i in (10, 6999, 7100):
        (lists / "n12000" / name_of(i)).unlink()
    d.seek(place)
    # The kernel may still hold the names that it had read; none comes twice, and none but the removed is missing.
    again = d.read(400)
    assert [n for n in again if n not in then] in ([], [name_of(7400)])
    assert set(then) - set(again) <= {name_of(7100)}
    rest = d.read(20000)
    assert len(before) + len(again) + len(rest) >= 11999
    d.rewind()
    whole = d.read(20000)
    d.close()
    assert len(whole) == 11997 and len(set(whole)) == 11997
    assert not {name_of(10), name_of(6999), name_of(7100)} & set(whole)


def test_a_directory_is_removed_name_by_name_while_it_is_read(lists, server):
    with os.scandir(lists / "n6000") as names:
        for e in names:
            os.unlink(e.path)
    assert len(server.missing) == 6000
    assert os.listdir(lists / "n6000") == []


def sanitized() -> bool:
    data = Path(program()).read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


def peak_kib(mount) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{mount.process.pid}/status").read_text())[1])


def test_memory_of_100000_names(make_lists, server):
    if sanitized():
        pytest.skip("a sanitizer takes memory of its own")
    mount, lists = make_lists()
    (lists / "n100000").stat()
    assert asked(server, lambda: ls_l(lists / "n100000"))[0] == 20
    assert peak_kib(mount) <= 64 * MIB


def test_a_listing_that_is_too_large_passes_through(make_lists, server):
    mount, lists = make_lists("attr_timeout=60")
    n = 260_000
    d = Dir(lists / f"n{n}")
    names = d.read(n + 1)
    assert names == [name_of(i) for i in range(n)]
    assert sorted(server.pages) == list(range(0, n, PAGE))
    # Its beginning is no longer in memory, and comes again by pages.
    d.rewind()
    assert d.read(3) == [name_of(0), name_of(1), name_of(2)]
    d.close()


def test_names_that_are_no_longer_believed_are_listed_again(make_lists, server):
    _, lists = make_lists("attr_timeout=3")
    path = lists / "n5000"
    ls_l(path)

    def stat_costs():
        return asked(server, lambda: (path / name_of(5)).stat()) != (0, 0)
    wait_for("what was listed is old", stat_costs, 20)
    singles = server.others
    for i in range(2000, 3000):
        (path / name_of(i)).stat()
    assert server.others - singles < 300, "each name was asked for alone"


def test_a_foreign_change_is_seen_within_attr_timeout(make_lists, server):
    _, lists = make_lists("attr_timeout=1")
    path = lists / "n5000"
    assert len(os.listdir(path)) == 5000
    server.missing.add(name_of(3))
    wait_for("the listing is a new one", lambda: len(os.listdir(path)) == 4999, 20)
    wait_for("the name is gone", lambda: not (path / name_of(3)).exists(), 20)


# --- with a service that keeps what is written ---------------------------------------------------
def test_what_is_not_there_costs_nothing_twice(site):
    os.listdir(site.dir)
    assert site.requests(lambda: [(site.dir / "none").exists() for _ in range(3)]) == {}
    (site.dir / "none").write_text("now")
    assert (site.dir / "none").read_text() == "now"


def copies(tmp_path, n):
    source = tmp_path / "many"
    source.mkdir()
    for i in range(n):
        (source / f"f{i:03}").write_bytes(b"x" * i)
    return source


def test_a_storm_of_new_files_asks_for_no_name(site, tmp_path):
    source = copies(tmp_path, 300)
    os.listdir(site.dir)
    made = site.requests(lambda: subprocess.run(["cp", "-r", f"{source}/.", str(site.dir)], check=True, timeout=60))
    assert made.get("PutBlob") == 300 and "ListBlobs" not in made, made
    assert len(os.listdir(site.dir)) == 300


def test_a_new_directory_is_known_to_be_empty(site, tmp_path):
    source = copies(tmp_path, 50)
    os.listdir(site.dir)
    made = site.requests(lambda: subprocess.run(["cp", "-r", str(source), str(site.dir)], check=True, timeout=60))
    assert "ListBlobs" not in made, made
    assert site.requests(lambda: os.listdir(site.dir / "many")) == {}
    assert len(os.listdir(site.dir / "many")) == 50


def test_a_listing_does_not_bring_back_what_was_removed(site):
    for i in range(30):
        (site.dir / f"f{i}").write_text("x")
    site.remount()
    with os.scandir(site.dir) as names:
        for e in names:
            os.unlink(e.path)
            assert not os.path.exists(e.path)
    assert os.listdir(site.dir) == []


# --- what the kernel remembers --------------------------------------------------------------------
@pytest.fixture
def two_views(site):
    """One directory of images as inbox/ and as containers/ show it."""
    inbox = site.mount.path / "inbox/flood"
    inbox.mkdir()
    plain = site.root / "ada/images/flood"
    wait_for("the event is a directory", plain.is_dir)
    return inbox, plain


def test_a_name_that_appears_in_another_view_is_seen_at_once(two_views):
    inbox, plain = two_views
    assert not (plain / "a.tfw").exists() and not (plain / "a.tfw").exists()
    (inbox / "a.tfw").write_text("1")
    wait_for("the new name", (plain / "a.tfw").exists, 10)
    (inbox / "a.tfw").write_text("longer")
    wait_for("the new size", lambda: (plain / "a.tfw").stat().st_size == 6, 10)
    (plain / "a.tfw").unlink()
    wait_for("the name goes", lambda: not (inbox / "a.tfw").exists(), 10)


def test_what_is_refused_is_seen_at_once(site, two_views):
    inbox, _ = two_views
    rejected = site.mount.path / "rejected/flood"
    assert not rejected.exists()
    with pytest.raises(OSError):
        (inbox / "bad.tif").write_bytes(b"no image at all")
    wait_for("the refused bytes", lambda: (rejected / "bad.tif").exists(), 10)


def test_the_end_does_not_wait_for_what_is_to_be_told(two_views, site):
    inbox, plain = two_views
    for i in range(200):
        assert not (plain / f"f{i}.tfw").exists()
        (inbox / f"f{i}.tfw").write_text("x")
    site.mount.process.terminate()
    assert site.mount.process_ends_within(10)


def test_a_pending_lookup_holds_up_nothing_else(gated, gate):
    """The kernel is told of a change in the directory that the lookup is in: that waits, all else goes on."""
    plain = gated.path / "containers/ada/images/flood"
    wait_for("the event is a directory", plain.is_dir)
    assert not (plain / "b.tfw").exists()
    gate.held = ("GET", "flood%2Fwaits")

    def look():
        # The directory is new, so for a moment it is known without asking that nothing is in it.
        while not gate.n_held and not (plain / "waits").exists():
            pass
    waiting = threading.Thread(target=look)
    waiting.start()
    wait_for("the lookup waits for the service", lambda: gate.n_held, 20)
    for i in range(20):
        (gated.path / f"inbox/flood/f{i}.tfw").write_text("x")
        assert (gated.path / f"inbox/flood/f{i}.tfw").stat().st_size == 1
    assert "jobs" in os.listdir(gated.path)
    gate.held = None
    gate.let_go.set()
    waiting.join(60)
    assert not waiting.is_alive()
    wait_for("the change is seen", (plain / "f19.tfw").exists, 10)
