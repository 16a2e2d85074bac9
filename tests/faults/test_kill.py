"""kill -9 at any moment: an image whose cp returned 0 has exactly one job, and it completes."""
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import INTERRUPTIBLE, batch_get, png, wait_for

TINY = Path(__file__).parent / "tiny.json"
CRASH_POINTS = ["after-commit", "after-snapshot", "after-job", "after-half-tasks", "before-patch",
                "after-patch", "before-manifest"]


class Copier(threading.Thread):
    """Copies images in turn, each again until cp returns 0, as a patient user would."""

    def __init__(self, inbox: Path, sources: list[Path]):
        super().__init__(daemon=True)
        self.inbox, self.sources = inbox, sources
        self.done: list[str] = []
        self.stop = threading.Event()

    def copied(self, source: Path) -> bool:
        # No mkdir -p: between two mounts it would fill the bare mount point.
        made = subprocess.run(["sh", "-c", 'mkdir "$2" 2>/dev/null; cp "$1" "$2/"', "sh", str(source), str(self.inbox)],
                              capture_output=True)
        return made.returncode == 0

    def run(self):
        for source in self.sources:
            while not self.stop.is_set():
                if self.copied(source):
                    self.done.append(source.name)
                    break
                self.stop.wait(0.05)


def settings_of(mount) -> dict[str, str]:
    """Where the services are, wherever the mount's own state lies."""
    return {**mount.env, **mount.engine_settings()}


def check_each_ran_once(mount, names):
    jobs = mount.wait_jobs(len(names))
    images: dict[str, list[str]] = {}
    for job in jobs:
        images.setdefault((mount.path / "jobs" / job / "image").readlink().name, []).append(job)
    assert sorted(images) == sorted(names)
    assert all(len(ids) == 1 for ids in images.values()), images
    assert set(jobs.values()) == {"completed"}, jobs
    in_batch = {j["id"]: j["state"] for j in batch_get(settings_of(mount), "/jobs")}
    assert sorted(in_batch) == sorted(jobs), "Batch has other jobs than the mount shows"
    assert set(in_batch.values()) == {"completed"}


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_at_a_named_point_of_the_submission(make_mount, tmp_path, point):
    m = make_mount(f"pipeline={TINY}")
    m.start(ADAFS_CRASH_AT=point)
    (m.path / "inbox" / "flood").mkdir()
    source = png(tmp_path / "a.png", 1)
    subprocess.run(["cp", str(source), str(m.path / "inbox" / "flood") + "/"], check=True, timeout=30)
    wait_for("adafs kills itself", lambda: not m.alive(), 30)
    m.start()
    check_each_ran_once(m, ["a.png"])


def test_kill_at_twenty_moments_while_ten_images_are_copied(make_mount, tmp_path):
    first = make_mount(f"pipeline={TINY}").start()
    copier = Copier(first.path / "inbox" / "flood", [png(tmp_path / f"i{i}.png", i) for i in range(10)])
    copier.start()
    moments = random.Random()
    for n in range(20):
        first.process_ends_within(moments.uniform(0.02, 0.6))
        first.kill()
        if n == 10:  # as on another machine: the services' addresses are all that is known
            first.env.update({k: v for k, v in first.engine_settings().items() if k.startswith("AZURE_")})
            first.options = ["dir=" + str(tmp_path / "elsewhere"), "pool=local", f"pipeline={TINY}"]
        first.start()
    copier.join(60)
    copier.stop.set()
    assert len(copier.done) == 10
    check_each_ran_once(first, copier.done)


def test_kill_of_the_emulator(make_mount, tmp_path):
    m = make_mount(f"pipeline={TINY}").start()
    copier = Copier(m.path / "inbox" / "flood", [png(tmp_path / f"i{i}.png", i) for i in range(10)])
    copier.start()
    moments = random.Random()
    for _ in range(10):
        m.process_ends_within(moments.uniform(0.05, 0.8))
        pid = m.engine_settings()["ADAFS_EMULATOR_PID"]
        os.kill(int(pid), signal.SIGKILL)
        wait_for("the mount starts the emulator again",
                 lambda: m.engine_settings().get("ADAFS_EMULATOR_PID") not in (None, pid), 30)
    copier.join(90)
    copier.stop.set()
    assert len(copier.done) == 10
    check_each_ran_once(m, copier.done)


def test_a_killed_copy_starts_nothing(make_mount, tmp_path):
    m = make_mount(f"pipeline={TINY}").start()
    source = png(tmp_path / "whole.png", 7)
    inbox = m.path / "inbox" / "flood"
    inbox.mkdir()
    # Every byte is there when the signal comes: only the signal tells that the copy did not end.
    writer = subprocess.run(["/usr/bin/python3", "-c", "import os, signal, sys\n"
                             "out = open(sys.argv[2], 'wb', buffering=0)\n"
                             "out.write(open(sys.argv[1], 'rb').read())\n"
                             "os.kill(os.getpid(), signal.SIGKILL)", str(source), str(inbox / "cut.png")], timeout=30)
    assert writer.returncode == -signal.SIGKILL
    shutil.copyfile(source, inbox / "whole.png")
    jobs = m.wait_jobs(1)
    assert [j for j in jobs if "cut" in j] == [] and len(jobs) == 1
    assert [j["id"] for j in batch_get(settings_of(m), "/jobs")] == list(jobs)


def test_a_stopped_emulator_leaves_the_tree_readable(make_mount, tmp_path):
    m = make_mount(f"pipeline={TINY}", "io_timeout=3").start()
    (m.path / "inbox" / "flood").mkdir()
    shutil.copyfile(png(tmp_path / "a.png", 1), m.path / "inbox" / "flood" / "a.png")
    m.wait_jobs(1)
    notes = m.path / "containers" / "ada" / "notes.bin"
    notes.write_bytes(b"n" * 3_000_000)
    subprocess.run(["ls", "-l", str(notes.parent)], check=True, capture_output=True)
    pid = int(m.engine_settings()["ADAFS_EMULATOR_PID"])
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        listed = subprocess.run(["ls", str(m.path / "jobs")], capture_output=True, text=True, timeout=10)
        assert listed.returncode == 0 and "flood-a" in listed.stdout and time.monotonic() - begun < 1
        cat = subprocess.Popen([*INTERRUPTIBLE, "cat", str(notes)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("cat waits in the mount", lambda: Path(f"/proc/{cat.pid}/syscall").read_text()[:1] == "0"
                 or cat.poll() is not None, 5)
        begun = time.monotonic()
        cat.send_signal(signal.SIGINT)
        assert cat.wait(10) != 0 and time.monotonic() - begun < 1, "Ctrl-C ends a cat at once"
        begun = time.monotonic()
        read = subprocess.run(["cat", str(notes)], capture_output=True, timeout=20)
        assert read.returncode != 0 and time.monotonic() - begun < 4, read
    finally:
        os.kill(pid, signal.SIGCONT)

    def readable():
        try:
            return notes.read_bytes() == b"n" * 3_000_000
        except OSError:
            return False
    wait_for("the file is readable again", readable, 20)
