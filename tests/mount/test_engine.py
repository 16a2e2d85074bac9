"""The life of a mount and of the embedded engine behind it."""
import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness import program, wait_for
from images import gate, tiff, write_pipeline


def engine_pid(m):
    return int(m.engine_settings()["ADAFS_EMULATOR_PID"])


def gone(pid):
    """A process that has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_parent_returns_when_the_mount_answers(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}")
    done = subprocess.run([program(), "-o", ",".join(m.options), str(m.path)], env=m.env, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert m.ready(), "no wait is needed"
    engine = engine_pid(m)
    (m.path / "inbox/a.tif").write_bytes(tiff(1))
    m.wait_jobs(1)
    subprocess.run(["fusermount3", "-u", str(m.path)], check=True, timeout=30)
    wait_for("the idle engine ends with the mount", lambda: gone(engine), 20)


def test_a_copy_right_before_the_unmount_runs_without_a_mount(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}").start()
    for i in range(6):
        (m.path / f"inbox/i{i}.tif").write_bytes(tiff(i))
    subprocess.run(["fusermount3", "-u", str(m.path)], check=True, timeout=30)
    assert m.process_ends_within(30)
    m.start()
    wait_for("the jobs are known", lambda: len(m.jobs()) == 6, 20)
    for job in m.jobs():
        assert "submitted as" not in (m.path / "jobs" / job / "events").read_text(), "the first mount did it"
    assert set(m.wait_jobs(6).values()) == {"completed"}


def test_an_emulator_that_nobody_uses_ends(emulator, tmp_path):
    emulator.stop()
    used = tmp_path / "used"
    with open(used, "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        emulator.options += ("--while-used", str(used), "--grace", "1")
        emulator.start()
        assert not emulator.ends_within(2.5), "it is in use"
    assert emulator.ends_within(20)


def test_errors_of_the_start_reach_the_parent(make_mount):
    nowhere = ("DefaultEndpointsProtocol=http;AccountName=acct;AccountKey=c2VjcmV0;"
               "BlobEndpoint=http://127.0.0.1:9/acct;")
    m = make_mount("io_timeout=1", env={"AZURE_STORAGE_CONNECTION_STRING": nowhere})
    done = subprocess.run([program(), "-o", ",".join(m.options), str(m.path)], env=m.env, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 32 and "container" in done.stderr and "c2VjcmV0" not in done.stderr
    assert not os.path.ismount(m.path)


def test_a_dead_mount_is_replaced(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}").start()
    (m.path / "inbox/a.tif").write_bytes(tiff(1))
    jobs = m.wait_jobs(1)
    m.kill()
    with pytest.raises(OSError):
        os.listdir(m.path)
    m.start()
    wait_for("the job is known again", lambda: m.jobs() == jobs, 20)


def test_an_engine_that_dies_is_started_again(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1").start()
    (m.path / "containers/ada/kept.bin").write_bytes(b"kept")
    old, settings = engine_pid(m), m.engine_settings()
    os.kill(old, signal.SIGKILL)
    wait_for("another one serves", lambda: m.engine_settings().get("ADAFS_EMULATOR_PID") not in (None, str(old)), 30)
    new = m.engine_settings()
    assert new.pop("ADAFS_EMULATOR_PID") != settings.pop("ADAFS_EMULATOR_PID")
    assert new == settings, "ports and keys are kept"
    assert (m.path / "containers/ada/kept.bin").read_bytes() == b"kept"
    (m.path / "inbox/a.tif").write_bytes(tiff(1))
    assert set(m.wait_jobs(1).values()) == {"completed"}


def test_a_long_log_goes_aside_and_the_last_line_is_told(make_mount):
    m = make_mount()
    old = b"x" * 99 + b"\n"
    log = m.state / "emulator.log"
    m.state.mkdir(parents=True, exist_ok=True)
    log.write_bytes(old * 90_000)
    (m.state / "blob").write_text("a file where a directory has to be")
    done = subprocess.run([program(), "-o", ",".join(m.options), str(m.path)], env=m.env, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode != 0 and "ended at its start: " in done.stderr
    words = done.stderr.split("ended at its start: ", 1)[1].strip()
    lines = log.read_text().splitlines()
    assert words and lines[-1].startswith(words[:100]), "the last line that the emulator logged"
    assert (m.state / "emulator.log.1").stat().st_size == 9_000_000 and log.stat().st_size < 8 << 20


def test_the_engine_outlives_a_mount_whose_jobs_run(make_mount, tmp_path):
    pipeline = write_pipeline(tmp_path / "gate.json", gate(tmp_path / "open"))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1").start()
    (m.path / "inbox/a.tif").write_bytes(tiff(1))
    wait_for("the job runs", lambda: list(m.jobs().values()) == ["running"])
    engine = engine_pid(m)
    m.unmount()
    assert not m.alive() and not gone(engine)
    (tmp_path / "open").touch()
    m.start()
    assert engine_pid(m) == engine
    assert set(m.wait_jobs(1).values()) == {"completed"}
    m.unmount()
    wait_for("the idle engine ends, whichever mount had started it", lambda: gone(engine), 20)


def test_two_mounts_share_one_engine(make_mount, tmp_path):
    pipeline = write_pipeline(tmp_path / "tiny.json")
    one = make_mount(f"pipeline={pipeline}", name="one").start()
    two = make_mount(f"pipeline={pipeline}", name="two")
    two.state = one.state
    two.options[0] = f"dir={one.state}"
    two.start()
    engine = engine_pid(one)
    (one.path / "inbox/a.tif").write_bytes(tiff(1))
    one.wait_jobs(1)
    one.unmount()
    assert not gone(engine)
    (two.path / "inbox/b.tif").write_bytes(tiff(2))
    wait_for("jobs run on", lambda: "completed" in two.jobs().values(), 30)
    two.unmount()
    wait_for("the engine ends with the last mount", lambda: gone(engine), 20)


def test_an_engine_that_a_user_started_is_left_alone(make_mount, emulator, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}")
    m.state = emulator.directory
    m.options[0] = f"dir={emulator.directory}"
    m.start()
    m.unmount()
    assert emulator.process.poll() is None


def test_files_with_keys_are_private(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}").start()
    key = m.engine_settings()["AZURE_STORAGE_KEY"]
    for path in m.state.rglob("*"):
        if path.is_file() and path.stat().st_size < 1_000_000 and key.encode() in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path
            assert not path.name.endswith(".log"), path
    command = Path(f"/proc/{engine_pid(m)}/cmdline").read_bytes()
    assert key.encode() not in command
    assert key not in m.log.read_text()
