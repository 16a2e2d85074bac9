"""A flipped bit, wherever it happens, is never returned as data: in transfer, in the store, in the disk cache."""
import os
import random
import subprocess
import urllib.error
from pathlib import Path

import pytest

from gateway import Gate
from harness import program, wait_for
from site_of_blobs import Blobs

# Injections a place; the whole exercise is ADAFS_TEST_FLIPS=3400 (10,200 in all).
FLIPS = int(os.environ.get("ADAFS_TEST_FLIPS", "300"))
PAGE = 4096


def content(seed, size):
    return random.Random(seed).randbytes(size)


def flip(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1:]


def flip_in_file(path: Path, at: int, dice: random.Random) -> None:
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << dice.randrange(8)]))


# --- in transfer ---------------------------------------------------------------------------------


@pytest.fixture
def gated(emulator, gate, make_mount):
    """A mount that reaches the Blob service through the gate."""
    def make(*options, **kw):
        env = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
        parts = env["AZURE_STORAGE_CONNECTION_STRING"]
        env["AZURE_STORAGE_CONNECTION_STRING"] = parts.replace(gate.service, f"127.0.0.1:{gate.server_port}")
        return make_mount("pool=local", *options, env=env, **kw)
    return make


class Flipper:
    """Flips a bit of every reply with data, or of every second one."""

    def __init__(self, always=False):
        self.always, self.flipped, self.seen, self.dice = always, 0, 0, random.Random(5)

    def __call__(self, method, path, body):
        if method != "GET" or "/flips/" not in path or "comp=" in path or not body:
            return body
        self.seen += 1
        if not self.always and self.seen % 2 == 0:
            return body
        self.flipped += 1
        return flip(body, self.dice)


def put(emulator, data):
    """By another client: what this mount writes is in the kernel's page cache."""
    blobs = Blobs(emulator)
    blobs.call("PUT", "flips?restype=container", b"").close()
    blobs.put("flips/image", data)


def test_flips_in_transfer_are_read_again(emulator, gate, gated):
    data = content(1, 16 * 1024 * 1024)
    put(emulator, data)
    folder = gated().start().path / "containers" / "flips"
    dice, gate.rewrite = random.Random(2), Flipper()
    places = dice.sample(range(len(data) // PAGE), k=len(data) // PAGE)
    with open(folder / "image", "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for page in places:
            if gate.rewrite.flipped >= FLIPS:
                break
            assert os.pread(f.fileno(), PAGE, page * PAGE) == data[page * PAGE:(page + 1) * PAGE]
    assert gate.rewrite.flipped >= FLIPS


def test_what_stays_flipped_is_an_error(emulator, gate, gated):
    data = content(2, 64 * PAGE)
    put(emulator, data)
    folder = gated().start().path / "containers" / "flips"
    gate.rewrite = Flipper(always=True)
    with open(folder / "image", "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for page in range(0, 64, 8):
            with pytest.raises(OSError):
                os.pread(f.fileno(), PAGE, page * PAGE)
        gate.rewrite = None
        assert os.pread(f.fileno(), PAGE, 0) == data[:PAGE]


# --- in the store --------------------------------------------------------------------------------


def data_files(emulator) -> list[Path]:
    return [p for p in emulator.directory.rglob("data/[0-9a-f][0-9a-f]/*") if p.is_file() and p.stat().st_size]


def checked(blobs, name, first, last):
    """The status and the bytes of a range with its checksum, as every read of a mount asks for it."""
    try:
        with blobs.call("GET", f"flips/{name}", x_ms_range=f"bytes={first}-{last}",
                        x_ms_range_get_content_crc64="true") as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_flips_in_the_store_are_errors(emulator):
    blobs, dice = Blobs(emulator), random.Random(6)
    blobs.call("PUT", "flips?restype=container", b"").close()
    files = {f"{i:05}": content(i, random.Random(i).randrange(1, 40_000)) for i in range(FLIPS)}
    for name, data in files.items():
        blobs.put(f"flips/{name}", data)
    stored = data_files(emulator)
    assert len(stored) >= FLIPS
    for path in stored:
        flip_in_file(path, dice.randrange(path.stat().st_size), dice)
    for name, data in files.items():
        assert checked(blobs, name, 0, len(data) - 1) == (500, b"")


def test_one_flip_spoils_what_stands_beside_it_only(emulator, make_mount):
    env = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    mount = make_mount("pool=local", "block_size=1M", "io_timeout=1", env=env).start()
    folder, data = mount.path / "containers" / "flips", content(9, 5 * 1024 * 1024 + 77)
    folder.mkdir()
    (folder / "image").write_bytes(data)
    (path,) = [p for p in data_files(emulator) if p.stat().st_size == len(data)]
    # Blocks stand in the data file as they arrived, which need not be the blob's order.
    flip_in_file(path, path.read_bytes().index(data[3_000_000:3_000_064]), random.Random(8))
    blobs, step = Blobs(emulator), 16 * 1024
    for first in range(0, len(data), 100_000):
        last = min(first + 99_999, len(data) - 1)
        near = first <= 3_000_000 + step and last >= 3_000_000 - step
        status, body = checked(blobs, "image", first, last)
        whole = status == 206 and body == data[first:last + 1]
        assert whole or (near and status == 500), f"{first}-{last}: {status}, {len(body)} bytes"
    with open(folder / "image", "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        with pytest.raises(OSError):
            os.pread(f.fileno(), PAGE, 3_000_000 // PAGE * PAGE)
        assert os.pread(f.fileno(), PAGE, 1_000_000 // PAGE * PAGE) == data[999_424:999_424 + PAGE]


# --- in the disk cache ---------------------------------------------------------------------------


def block_files(cache: Path) -> list[Path]:
    return [p for p in cache.glob("[0-9a-f][0-9a-f]/*") if p.is_file()]


def read_all(folder, files):
    for name, data in files.items():
        assert (folder / name).read_bytes() == data, name


def requests_for_data(emulator):
    return emulator.counters().get("GetBlob", 0)


@pytest.fixture
def cached(emulator, make_mount, tmp_path):
    """Starts mounts that share a disk cache."""
    number = iter(range(100))
    cache = tmp_path / "cache"

    def start(*options):
        env = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
        return make_mount("pool=local", f"disk_cache={cache}", *options, env=env, name=f"m{next(number)}").start()
    start.directory = cache
    return start


def small_files(mount, n):
    folder = mount.path / "containers" / "flips"
    folder.mkdir()
    files = {f"{i:05}": content(i, random.Random(i).randrange(1, 3 * PAGE)) for i in range(n)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def kept(cached, n):
    return lambda: len(block_files(cached.directory)) >= n


def test_a_later_mount_reads_from_disk(cached, emulator):
    first = cached()
    files = small_files(first, 20)
    files["large"] = content(7, 9 * 1024 * 1024 + 123)
    (first.path / "containers" / "flips" / "large").write_bytes(files["large"])
    read_all(first.path / "containers" / "flips", files)
    wait_for("all is kept", kept(cached, 23))
    first.unmount()
    assert os.stat(cached.directory).st_mode & 0o777 == 0o700
    second = cached()
    before = requests_for_data(emulator)
    read_all(second.path / "containers" / "flips", files)
    assert requests_for_data(emulator) == before
    # What was changed meanwhile is another version.
    (second.path / "containers" / "flips" / "00001").write_bytes(b"new")
    assert (second.path / "containers" / "flips" / "00001").read_bytes() == b"new"


def test_flips_on_disk_are_fetched_again(cached, emulator):
    first = cached()
    files = small_files(first, FLIPS)
    read_all(first.path / "containers" / "flips", files)
    wait_for("most is kept", kept(cached, FLIPS * 8 // 10))
    first.unmount()
    dice, blocks = random.Random(3), block_files(cached.directory)
    for path in blocks:
        size = path.stat().st_size
        # The head, the checksum of the first page, or its bytes.
        flip_in_file(path, dice.choice([dice.randrange(200), PAGE + dice.randrange(8),
                                        dice.randrange(3 * PAGE, size)]), dice)
    second = cached()
    before = requests_for_data(emulator)
    read_all(second.path / "containers" / "flips", files)
    # A flip in the zeros behind the key is one that matters no less.
    assert requests_for_data(emulator) - before >= len(blocks)
    assert "is dropped" in second.log.read_text()


def test_truncated_and_foreign_files_do_no_harm(cached):
    first = cached()
    files = small_files(first, 40)
    read_all(first.path / "containers" / "flips", files)
    wait_for("most is kept", kept(cached, 30))
    first.unmount()
    dice = random.Random(4)
    for path in block_files(cached.directory):
        os.truncate(path, dice.choice([0, 10, PAGE, PAGE + 4, 3 * PAGE, 3 * PAGE + 1]))
    (cached.directory / "notes").write_text("not of the cache")
    second = cached()
    read_all(second.path / "containers" / "flips", files)
    assert (cached.directory / "notes").read_text() == "not of the cache"


def test_the_disk_cache_is_bounded(cached):
    mount = cached("disk_cache_size=64M")
    folder = mount.path / "containers" / "flips"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}").write_bytes(content(i, 12 * 1024 * 1024))
    for i in range(10):
        assert (folder / f"{i}").read_bytes() == content(i, 12 * 1024 * 1024)
    size = lambda: sum(p.stat().st_blocks * 512 for p in block_files(cached.directory))  # noqa: E731
    wait_for("a bounded cache", lambda: 0 < size() <= 64 * 1024 * 1024, 20)


def test_a_directory_that_others_may_enter_is_refused(tmp_path, emulator):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    point = tmp_path / "point"
    point.mkdir()
    env = {**os.environ, **{k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}}
    done = subprocess.run([program(), "-f", "-o", f"pool=local,dir={tmp_path / 'state'},disk_cache={open_to_all}", point],
                          env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode and "chmod 700" in done.stderr
