"""containers/: blobs as files, over a real mount on a real emulator; a second client changes things beside it."""
import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import INTERRUPTIBLE, wait_for
from site_of_blobs import RENAME_NOREPLACE, errno_of, rename2
from fsx import Fsx

KIB, MIB = 1024, 1024 * 1024


# --- content ----------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 1, 4096, 256 * KIB, 256 * KIB + 1, 3 * MIB + 17])
def test_bytes_survive(site, size):
    data = random.Random(size).randbytes(size)
    (site.dir / "f").write_bytes(data)
    assert (site.dir / "f").stat().st_size == size
    site.remount()
    assert (site.dir / "f").read_bytes() == data
    assert site.blobs.get("data/f") == data


def test_requests_of_writes(site):
    os.listdir(site.dir)
    assert site.requests(lambda: (site.dir / "one").write_bytes(b"x" * 256 * KIB)) == {"PutBlob": 1}
    assert site.requests(lambda: (site.dir / "n").write_bytes(b"x" * (MIB + 1))) == {"PutBlock": 5, "PutBlockList": 1}


def test_blocks_go_up_while_the_writer_goes_on(site):
    with open(site.dir / "f", "wb", buffering=0) as f:
        for _ in range(8):
            f.write(os.urandom(256 * KIB))
        wait_for("blocks arrive before close", lambda: site.emulator.counters().get("PutBlock", 0) >= 5)
        assert not site.blobs.exists("data/f")


def test_requests_of_reads(site):
    data = os.urandom(9 * MIB)
    site.blobs.put("data/f", data)
    site.remount()
    os.listdir(site.dir)

    def read():
        assert (site.dir / "f").read_bytes() == data
    assert site.requests(read) == {"GetBlob": 3}
    assert site.requests(read) == {}


def test_a_random_read_fetches_what_it_needs(site):
    data = os.urandom(16 * MIB)
    site.blobs.put("data/f", data)
    fd = os.open(site.dir / "f", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    offsets = [k * 64 * KIB for k in random.Random(5).sample(range(8, 250), 24)]

    def read():
        for off in offsets:
            assert os.pread(fd, 64 * KIB, off) == data[off:off + 64 * KIB]
    made = site.requests(read)
    os.close(fd)
    assert set(made) == {"GetBlob"} and made["GetBlob"] <= 24 * 1.2


def test_editing_in_place(site):
    path = site.dir / "f"
    path.write_bytes(b"a" * MIB)
    with open(path, "r+b") as f:
        f.seek(300 * KIB)
        f.write(b"b" * 10)
        f.truncate(700 * KIB)
        f.seek(900 * KIB)
        f.write(b"end")
    want = b"a" * (300 * KIB) + b"b" * 10 + b"a" * (400 * KIB - 10) + bytes(200 * KIB) + b"end"
    assert path.read_bytes() == want
    assert site.blobs.get("data/f") == want
    with open(path, "ab") as f:
        f.write(b"!")
    os.truncate(path, 5)
    assert site.blobs.get("data/f") == b"aaaaa"


def test_a_reader_beside_a_writer_sees_what_is_written(site):
    path = site.dir / "f"
    path.write_bytes(b"old")
    with open(path, "rb", buffering=0) as reader, open(path, "wb", buffering=0) as writer:
        writer.write(b"newer")
        assert reader.read() == b"newer"


def test_flushes_before_and_amid_the_bytes(site):
    subprocess.run(f"{{ echo one; (echo two); /bin/echo three; }} > '{site.dir}/f'", shell=True, check=True)
    assert (site.dir / "f").read_text() == "one\ntwo\nthree\n"
    subprocess.run(f": > '{site.dir}/empty'; touch '{site.dir}/touched'", shell=True, check=True)
    assert sorted(os.listdir(site.dir)) == ["empty", "f", "touched"]
    wait_for("empty files are stored", lambda: site.blobs.exists("data/empty") and site.blobs.exists("data/touched"))


def test_what_a_mapping_wrote_after_close_is_stored(site):
    import mmap
    fd = os.open(site.dir / "f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 8192)
    with mmap.mmap(fd, 8192) as m:
        os.close(fd)
        m[4096:4100] = b"late"
    wait_for("the mapping is stored", lambda: site.blobs.exists("data/f")
             and site.blobs.get("data/f") == bytes(4096) + b"late" + bytes(4092))


def test_a_killed_writer_leaves_no_file(site, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cp = subprocess.Popen(["dd", f"if={fifo}", f"of={site.dir}/f", "bs=4096"], stderr=subprocess.DEVNULL)
    with open(fifo, "wb", buffering=0) as f:
        f.write(b"x" * 40960)
        wait_for("bytes were written", lambda: (site.dir / "f").exists() and (site.dir / "f").stat().st_size >= 40960)
        cp.send_signal(signal.SIGKILL)
        cp.wait()
    wait_for("the name is gone", lambda: "f" not in os.listdir(site.dir))
    assert not site.blobs.exists("data/f")


def test_cache_size_bounds_what_is_being_written(make_site):
    small = make_site("cache_size=16M", "block_size=1M", name="small")
    with open(small.dir / "f", "wb", buffering=0) as f:
        assert errno_of(lambda: [f.write(b"x" * MIB) for _ in range(20)]) == errno.ENOSPC
        os.ftruncate(f.fileno(), 0)
        f.write(b"y" * MIB)
    (small.dir / "g").write_bytes(b"z" * 3 * MIB)
    assert (small.dir / "g").stat().st_size == 3 * MIB
    free = os.statvfs(small.dir)
    assert free.f_bavail * free.f_frsize <= 16 * MIB


# --- versions ---------------------------------------------------------------------------------
def test_a_change_by_somebody_else_is_seen_at_the_next_open(quick):
    path = quick.dir / "f"
    path.write_bytes(b"mine")
    quick.blobs.put("data/f", b"them")
    assert path.read_bytes() == b"them"
    quick.blobs.put("data/f", b"longer than before")
    assert path.stat().st_size == 18
    quick.blobs.call("DELETE", "data/f").close()
    assert errno_of(lambda: open(path)) == errno.ENOENT


def test_an_open_file_never_mixes_versions(quick):
    quick.blobs.put("data/f", b"1" * 12 * MIB)
    with open(quick.dir / "f", "rb", buffering=0) as f:
        assert f.read(4096) == b"1" * 4096
        quick.blobs.put("data/f", b"2" * 12 * MIB)
        rest = b""
        try:
            while part := f.read(MIB):
                rest += part
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EIO)
        assert set(rest) <= {ord("1")}
    assert (quick.dir / "f").read_bytes() == b"2" * 12 * MIB


@pytest.mark.parametrize("size", [10, MIB])
def test_the_loser_of_two_writers_gets_estale(site, size):
    path = site.dir / "f"
    path.write_bytes(b"base")
    f = open(path, "wb", buffering=0)
    f.write(b"m" * size)
    site.blobs.put("data/f", b"theirs")
    assert errno_of(f.close) == errno.ESTALE
    assert site.blobs.get("data/f") == b"theirs"
    new = open(site.dir / "g", "wb", buffering=0)
    new.write(b"m" * size)
    site.blobs.put("data/g", b"theirs")
    assert errno_of(new.close) == errno.ESTALE
    assert site.blobs.get("data/g") == b"theirs"


def test_o_excl(site):
    (site.dir / "f").touch()
    assert errno_of(lambda: open(site.dir / "f", "x")) == errno.EEXIST
    with open(site.dir / "g", "x") as f:
        assert errno_of(lambda: open(site.dir / "g", "x")) == errno.EEXIST
        f.write("once")
    assert (site.dir / "g").read_text() == "once"


# --- directories and names ------------------------------------------------------------------------
def test_directories(site):
    sub = site.dir / "a" / "b"
    sub.mkdir(parents=True)
    assert errno_of(sub.mkdir) == errno.EEXIST
    (sub / "f").write_text("x")
    assert errno_of(sub.rmdir) == errno.ENOTEMPTY
    assert errno_of(sub.unlink) == errno.EISDIR
    (sub / "f").unlink()
    site.remount()
    assert sub.is_dir() and os.listdir(sub) == []
    sub.rmdir()
    assert os.listdir(site.dir / "a") == []
    (site.dir / "a").rmdir()
    assert os.listdir(site.dir) == []


def test_rm_r_of_directories_without_markers(site):
    for name in ("d/x", "d/e/y", "d/e/f/z"):
        site.blobs.put("data/" + name, b"1")
    subprocess.run(["rm", "-r", str(site.dir / "d")], check=True, timeout=20)
    assert os.listdir(site.dir) == []
    assert not site.blobs.exists("data/d")


def test_every_form_of_a_directory(site):
    site.blobs.put("data/marked", b"", x_ms_meta_hdi_isfolder="true")
    site.blobs.put("data/marked/f", b"1")
    site.blobs.put("data/slash/", b"")
    site.blobs.put("data/virtual/f", b"1")
    site.blobs.put("data/both", b"a file beside a directory")
    site.blobs.put("data/both/f", b"1")
    site.blobs.put("data/odd//f", b"1")
    site.blobs.put("data/Hadoop", b"", x_ms_meta_Hdi_isfolder="True")
    assert sorted(os.listdir(site.dir)) == ["Hadoop", "both", "marked", "odd", "slash", "virtual"]
    for name in os.listdir(site.dir):
        assert (site.dir / name).is_dir(), name
    assert os.listdir(site.dir / "marked") == ["f"] == os.listdir(site.dir / "both") == os.listdir(site.dir / "virtual")
    assert os.listdir(site.dir / "slash") == [] == os.listdir(site.dir / "odd")
    site.remount()
    for name in ("marked", "slash", "virtual", "both"):
        assert (site.dir / name).is_dir(), name


def test_a_cold_lookup_costs_one_request(site):
    site.blobs.put("data/a/b/f", b"1")
    (site.dir / "a" / "b").stat()
    assert site.requests(lambda: (site.dir / "a/b/f").stat()) == {"ListBlobs": 1}
    assert site.requests(lambda: (site.dir / "a/b/f").stat()) == {}
    assert site.requests(lambda: (site.dir / "a/b/none").exists()) == {"ListBlobs": 1}
    assert site.requests(lambda: (site.dir / "a/b/none").exists()) == {}


@pytest.mark.parametrize("name, code", [
    ("back\\slash", errno.EINVAL), ("tab\there", errno.EINVAL), ("\x7f", errno.EINVAL), ("\ufffe", errno.EINVAL),
    ("x" * 256, errno.ENAMETOOLONG), (os.fsdecode(b"bad\xff"), errno.EILSEQ),
])
def test_names_that_cannot_be_fail_at_create(site, name, code):
    assert errno_of(lambda: open(site.dir / name, "w")) == code
    assert errno_of(lambda: (site.dir / name).mkdir()) == code


def test_names_that_can_be_survive(site):
    names = ["space here", "percent%2F", "plus+", "hash#", "question?", "amp&", "quote'\"", "ümläut", "e\u0301", "é",
             "emoji\U0001f30d", "tail.", "-dash", "CON", "a~b", "x" * 255, "%", "a=b;c,d", "[x]{y}", "<xml>"]
    for name in names:
        (site.dir / name).write_text(name)
    site.remount()
    assert sorted(os.listdir(site.dir)) == sorted(names)
    for name in names:
        assert (site.dir / name).read_text() == name


def test_a_path_of_more_than_1024_units(site):
    path = site.dir
    with pytest.raises(OSError) as e:
        for _ in range(6):
            path = path / ("d" * 200)
            path.mkdir()
    assert e.value.errno == errno.ENAMETOOLONG


def test_containers(site):
    assert errno_of((site.root / "Upper").mkdir) == errno.EINVAL
    assert errno_of((site.root / "ab").mkdir) == errno.EINVAL
    (site.root / "fresh-one").mkdir()
    assert errno_of((site.root / "fresh-one").mkdir) == errno.EEXIST
    (site.root / "fresh-one" / "f").touch()
    wait_for("the file is stored", lambda: site.blobs.exists("fresh-one/f"))
    assert errno_of((site.root / "fresh-one").rmdir) == errno.ENOTEMPTY
    (site.root / "fresh-one" / "f").unlink()
    (site.root / "fresh-one").rmdir()
    assert "fresh-one" not in os.listdir(site.root)
    assert errno_of(lambda: (site.root / "f").touch()) == errno.EPERM


# --- unlink and rename ------------------------------------------------------------------------------
def test_unlink(site):
    (site.dir / "f").write_text("1")
    (site.dir / "f").unlink()
    assert errno_of((site.dir / "f").unlink) == errno.ENOENT
    assert not site.blobs.exists("data/f")
    with open(site.dir / "g", "w") as f:
        f.write("never stored")
        (site.dir / "g").unlink()
    assert os.listdir(site.dir) == [] and not site.blobs.exists("data/g")


def test_rename_of_files(site):
    a, b = site.dir / "a", site.dir / "b"
    a.write_text("first")
    mtime = a.stat().st_mtime_ns
    a.rename(b)
    assert not a.exists() and b.read_text() == "first" and b.stat().st_mtime_ns == mtime
    a.write_text("second")
    assert errno_of(lambda: rename2(a, b, RENAME_NOREPLACE)) == errno.EEXIST
    a.rename(b)
    assert site.blobs.get("data/b") == b"second" and os.listdir(site.dir) == ["b"]
    rename2(b, a, RENAME_NOREPLACE)
    assert errno_of(lambda: b.rename(a)) == errno.ENOENT
    (site.root / "other").mkdir()
    a.rename(site.root / "other" / "a")
    assert site.blobs.get("other/a") == b"second"


def test_rename_of_an_open_file(site):
    with open(site.dir / "f.part", "wb", buffering=0) as f:
        f.write(b"x" * MIB)
        (site.dir / "f.part").rename(site.dir / "f")
        f.write(b"y")
        assert os.listdir(site.dir) == ["f"]
    assert site.blobs.get("data/f") == b"x" * MIB + b"y"
    assert not site.blobs.exists("data/f.part")


def test_saving_by_rename(site):
    path = site.dir / "doc"
    for i in range(5):
        new = site.dir / f".doc.{i}"
        new.write_text(f"version {i}")
        new.rename(path)
        assert path.read_text() == f"version {i}"
    assert os.listdir(site.dir) == ["doc"]
    assert site.blobs.get("data/doc") == b"version 4"


def test_rename_of_directories(site):
    for i in range(120):
        site.blobs.put(f"data/many/f{i}", b"")
    old, new = site.dir / "old", site.dir / "new"
    (old / "sub").mkdir(parents=True)
    for i in range(5):
        (old / "sub" / f"f{i}").write_text(str(i))
    (site.dir / "older").write_text("a sibling with the same start")
    old.rename(new)
    assert sorted(os.listdir(site.dir)) == ["many", "new", "older"]
    assert sorted(os.listdir(new / "sub")) == [f"f{i}" for i in range(5)]
    assert (new / "sub" / "f3").read_text() == "3"
    assert errno_of(lambda: new.rename(new / "sub" / "x")) == errno.EINVAL
    (site.dir / "full").mkdir()
    (site.dir / "full" / "f").touch()
    assert errno_of(lambda: new.rename(site.dir / "full")) == errno.ENOTEMPTY
    assert errno_of(lambda: (site.dir / "many").rename(site.dir / "more")) == errno.EXDEV


# --- attributes ---------------------------------------------------------------------------------------
def test_times_modes_and_owners(site, tmp_path):
    source = tmp_path / "s"
    source.write_text("x")
    os.utime(source, ns=(1_500_000_000_123_456_789,) * 2)
    subprocess.run(["cp", "-p", source, site.dir / "f"], check=True)
    assert (site.dir / "f").stat().st_mtime_ns == 1_500_000_000_123_456_789
    site.remount()
    assert (site.dir / "f").stat().st_mtime_ns == 1_500_000_000_123_456_789
    os.utime(site.dir / "f", ns=(10**18, 10**18))
    assert (site.dir / "f").stat().st_mtime_ns == 10**18
    os.chmod(site.dir / "f", 0o600)
    os.chown(site.dir / "f", os.getuid(), os.getgid())
    assert (site.dir / "f").stat().st_mode & 0o777 == 0o600
    assert site.blobs.get("data/f") == b"x"


def test_rsync_twice_sends_nothing_the_second_time(site, tmp_path):
    for i in range(20):
        (tmp_path / "tree" / f"d{i % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / f"d{i % 3}" / f"f{i}").write_bytes(os.urandom(1000 * i))
    command = ["cp", "-ru", f"{tmp_path}/tree", f"{site.dir}/"]
    subprocess.run(command, check=True, timeout=60)
    assert subprocess.run(["diff", "-r", f"{tmp_path}/tree", f"{site.dir}/tree"], timeout=60).returncode == 0
    made = site.requests(lambda: subprocess.run(command, check=True, timeout=60))
    assert not {"PutBlob", "PutBlock"} & set(made), made


def test_extended_attributes(site):
    (site.dir / "f").write_text("x")
    assert os.listxattr(site.dir / "f") == []
    assert os.getxattr(site.dir / "f", "user.adafs.etag").startswith(b"0x")
    assert errno_of(lambda: os.getxattr(site.dir / "f", "user.none")) == errno.ENODATA
    assert errno_of(lambda: os.getxattr(site.dir / "f", "security.selinux")) == errno.EOPNOTSUPP


# --- many at once --------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_operations(site, seed):
    Fsx(site.dir, seed).run(500)


def test_random_operations_without_caches(quick):
    Fsx(quick.dir, 4).run(200)


def test_writers_in_parallel(site):
    failures = []

    def work(k):
        try:
            rnd = random.Random(k)
            for i in range(25):
                data = rnd.randbytes(rnd.choice([100, 5000, 600_000]))
                path = site.dir / f"w{k}-{i}"
                path.write_bytes(data)
                if path.read_bytes() != data or i % 5 == 0 and path.unlink():
                    failures.append(path)
        except OSError as e:
            failures.append(e)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert failures == []
    assert len(os.listdir(site.dir)) == 8 * 20
    site.remount()
    rnd = random.Random(3)
    for i in range(25):
        data = rnd.randbytes(rnd.choice([100, 5000, 600_000]))
        assert i % 5 == 0 or (site.dir / f"w3-{i}").read_bytes() == data


def test_many_readers_of_one_file_share_its_requests(site):
    data = os.urandom(8 * MIB)
    site.blobs.put("data/f", data)
    os.listdir(site.dir)

    def read_all():
        readers = [subprocess.Popen(["sha256sum", str(site.dir / "f")], stdout=subprocess.PIPE) for _ in range(8)]
        sums = {r.communicate(timeout=60)[0].split()[0] for r in readers}
        assert sums == {hashlib.sha256(data).hexdigest().encode()}
    assert site.requests(read_all) == {"GetBlob": 2}


def test_a_large_file_takes_little_memory(make_site, tmp_path):
    large = make_site("attr_timeout=60", name="large")
    source = tmp_path / "source"
    digest, rnd = hashlib.sha256(), random.Random(1)
    with open(source, "wb") as f:
        for _ in range(160):
            block = rnd.randbytes(MIB)
            digest.update(block)
            f.write(block)
    made = large.requests(lambda: subprocess.run(["cp", source, large.dir / "f"], check=True, timeout=120))
    assert made.get("PutBlock") == 40 and made.get("PutBlockList") == 1
    large.remount()
    out = subprocess.run(["sha256sum", large.dir / "f"], check=True, capture_output=True, text=True, timeout=120)
    assert out.stdout.split()[0] == digest.hexdigest()
    status = Path(f"/proc/{large.mount.process.pid}/status").read_text()
    peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    if "san" not in os.environ.get("ADAFS_BIN", ""):
        assert peak_kib < 200 * KIB


# --- a service that hangs ---------------------------------------------------------------------------------
@pytest.fixture
def hung(make_site, emulator):
    site = make_site("attr_timeout=60", "io_timeout=3", name="hung")
    site.blobs.put("data/f", os.urandom(20 * MIB))
    site.blobs.put("data/g", b"small")
    assert (site.dir / "g").read_bytes() == b"small"
    os.listdir(site.dir)
    emulator.process.send_signal(signal.SIGSTOP)
    yield site
    emulator.process.send_signal(signal.SIGCONT)


def test_a_hung_service_ends_reads_and_leaves_the_rest_alone(hung):
    readers = [subprocess.Popen(["cat", str(hung.dir / "f")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for _ in range(24)]
    start = time.monotonic()
    assert (hung.dir / "g").read_bytes() == b"small"
    assert sorted(os.listdir(hung.dir)) == ["f", "g"]
    with open(hung.dir / "new", "wb", buffering=0) as f:
        f.write(b"x" * 4096)  # CREATE and WRITE are local
        assert time.monotonic() - start < 2
        for r in readers:
            assert r.wait(30) != 0
        # A reader that the page cache holds up may try once more: the kernel retries page by page.
        assert time.monotonic() - start < 2 * 3 + 2
        assert errno_of(lambda: os.fsync(f.fileno())) in (errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EIO)
        hung.emulator.process.send_signal(signal.SIGCONT)
        wait_for("the service is back", lambda: try_fsync(f.fileno()))
    assert hung.blobs.get("data/new") == b"x" * 4096


def try_fsync(fd):
    try:
        os.fsync(fd)
    except OSError:
        return False
    return True


def test_ctrl_c_ends_a_hung_read_at_once(hung):
    cat = subprocess.Popen([*INTERRUPTIBLE, "cat", str(hung.dir / "f")], stdout=subprocess.DEVNULL)
    wait_for("cat waits for the mount", lambda: Path(f"/proc/{cat.pid}/comm").read_text() == "cat\n"
             and ("State:\tD" in (s := Path(f"/proc/{cat.pid}/status").read_text()) or "State:\tS" in s))
    start = time.monotonic()
    cat.send_signal(signal.SIGINT)
    cat.wait(10)
    assert time.monotonic() - start < 1


def test_a_signal_that_is_handled_does_not_fail_a_read(hung):
    """SA_RESTART handlers and Go's SIGURG: the read goes on and gets the data."""
    program = ("import signal, sys, os\n"
               "signal.signal(signal.SIGURG, lambda *_: None)\n"
               "signal.siginterrupt(signal.SIGURG, False)\n"
               "print('ready', flush=True)\n"
               f"print(len(os.pread(os.open({str(hung.dir / 'f')!r}, os.O_RDONLY), 100, 0)), flush=True)\n")
    reader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "ready\n"
    for _ in range(5):
        reader.send_signal(signal.SIGURG)
        time.sleep(0.05)  # spread over the read, nothing is waited for
    hung.emulator.process.send_signal(signal.SIGCONT)
    assert reader.stdout.read() == "100\n" and reader.wait(10) == 0


def test_more_closes_at_once_than_workers(make_site):
    """A commit of many blocks wants helpers; it must not wait for one that no worker is free to be."""
    site = make_site("block_size=64K")
    n = 160
    data = [bytes([i]) * (200 * KIB) for i in range(n)]
    fds = [os.open(site.dir / f"f{i}", os.O_CREAT | os.O_WRONLY) for i in range(n)]
    for fd, text in zip(fds, data):
        # From the end: nothing is complete behind the writer, so all of it is left to the close.
        for at in (128 * KIB, 64 * KIB, 0):
            os.pwrite(fd, text[at:at + 72 * KIB], at)
    emulator = site.emulator.process.pid
    os.kill(emulator, signal.SIGSTOP)
    with ThreadPoolExecutor(n) as pool:
        try:
            closing = [pool.submit(os.close, fd) for fd in fds]
            wait_for("all workers are taken", lambda: threads_of(site.mount.process.pid) >= 128, 20)
        finally:
            os.kill(emulator, signal.SIGCONT)
        try:
            for f in closing:
                f.result(timeout=60)
        except TimeoutError:
            site.mount.kill()  # lets go of the threads that hang in close
            raise
    for i in range(n):
        assert site.blobs.get(f"data/f{i}") == data[i], i


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))
