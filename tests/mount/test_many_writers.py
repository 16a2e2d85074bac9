"""Many processes write many files at once, and read them back. ADAFS_TEST_MANY: how many files, for a long run."""
import multiprocessing
import os
from pathlib import Path

from harness import program, wait_for

FILES = int(os.environ.get("ADAFS_TEST_MANY", "2000"))
PROCESSES = 32
MIB = 1024 * 1024


def content(i: int) -> bytes:
    """Each file is its own: empty, small, or of three blocks and a bit."""
    size = 0 if i % 97 == 0 else 800_000 + i if i % 50 == 0 else 1 + i * 7919 % 20_000
    unit = b"%d:%d;" % (i, i * i)
    return (unit * (size // len(unit) + 1))[:size]


def path_of(root: Path, i: int) -> Path:
    return root / f"d{i % 8}" / f"f{i:05}.bin"


def write(root: Path, part: range) -> None:
    for i in part:
        path_of(root, i).write_bytes(content(i))


def compare(root: Path, part: range) -> None:
    for i in part:
        assert path_of(root, i).read_bytes() == content(i), i


def by_all(what, root: Path, first: int, last: int, seconds: float) -> None:
    """Spread the files over the processes; all have to end well."""
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=what, args=(root, range(first + k, last, PROCESSES))) for k in range(PROCESSES)]
    for p in workers:
        p.start()
    wait_for(f"{what.__name__} of {last - first} files", lambda: not any(p.is_alive() for p in workers), seconds)
    for p in workers:
        p.join()
    assert [p.exitcode for p in workers] == [0] * PROCESSES


def memory(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def is_sanitized() -> bool:
    data = Path(program()).read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


def test_many_files_by_many_processes(make_site, monkeypatch):
    # Freed memory that a sanitizer holds back is none that the program holds.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4:thread_local_quarantine_size_kb=64")
    site = make_site("block_size=256K", "log_level=info")
    pid = site.mount.process.pid
    for k in range(8):
        (site.dir / f"d{k}").mkdir()
    seconds = 90 + FILES / 20
    half = FILES // 2
    by_all(write, site.dir, 0, half, seconds)
    by_all(compare, site.dir, 0, half, seconds)
    before = memory(pid, "VmRSS:")
    by_all(write, site.dir, half, FILES, seconds)
    by_all(compare, site.dir, half, FILES, seconds)
    # What is known of a name takes some memory, the bytes of a file that was closed none.
    grown = memory(pid, "VmRSS:") - before
    # A sanitizer keeps books of its own on all that was ever touched.
    if is_sanitized():
        assert grown < 512 * MIB
    else:
        assert grown < 16 * MIB + half * 2048 and memory(pid, "VmHWM:") <= 64 * MIB
    site.mount.unmount()
    site.mount.start()
    assert sum(len(os.listdir(site.dir / f"d{k}")) for k in range(8)) == FILES
    by_all(compare, site.dir, 0, FILES, 2 * seconds)
