"""What the tests of the cases do again and again: run programs, and look at what became of an image."""
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import batch_get, wait_for
from images import tiff


def run(*argv, want=0, **kw) -> subprocess.CompletedProcess:
    """A program as a user runs it; want=None: whatever it returns."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=90,
                          env={**os.environ, "LC_ALL": "C.UTF-8"}, **kw)
    assert want is None or done.returncode == want, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def need(name: str) -> str:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed: run scripts/setup --tests")
    return name


def refused(m, source: Path, name: str, event: str = "flood") -> str:
    """cp must fail with EBADMSG and the bytes be kept: the reason."""
    done = run("cp", source, m.path / "inbox" / event / name, want=1)
    assert "Bad message" in done.stderr, done.stderr
    kept = m.path / "rejected" / event / name
    reason = kept.with_name(f"{name}.reason")
    wait_for("the bytes are kept with their reason", lambda: reason.exists() and kept.exists(), 20)
    assert kept.read_bytes() == source.read_bytes()
    wait_for("the name is gone", lambda: not (m.path / "inbox" / event / name).exists(), 20)
    return reason.read_text()


def named(m, start: str) -> list[Path]:
    """The directories of the jobs whose ids start so."""
    return sorted(j for j in (m.path / "jobs").iterdir() if j.name.startswith(start + "-"))


def one_job(m, start: str) -> Path:
    """The only job of that name, once it is there."""
    wait_for(f"a job of {start}", lambda: named(m, start), 30)
    [job] = named(m, start)
    return job


def ends(job: Path, state: str, seconds: float = 60) -> Path:
    ended = {"completed", "failed", "cancelled", "empty"}
    found = wait_for(f"{job.name} ends", lambda: (s := (job / "state").read_text().strip()) in ended and s, seconds)
    assert found == state, (job / "waiting_for").read_text()
    return job


def in_batch(m) -> list[str]:
    """Ids of all jobs that Batch has."""
    return sorted(j["id"] for j in batch_get({**m.env, **m.engine_settings()}, "/jobs"))


def only_the_last_becomes_a_job(m, event: str = "flood") -> None:
    """What was copied before a later image would have its job by the time that the later one has."""
    (m.path / "inbox" / event / "last.tif").write_bytes(tiff(999))
    ends(one_job(m, f"{event}-last"), "completed")
    assert len(m.jobs()) == 1 and in_batch(m) == list(m.jobs())


def map_of(m, event: str = "flood") -> list[str] | None:
    """Lines of the merged map, sorted."""
    try:
        return sorted((m.path / "results" / event / "all.txt").read_text().split())
    except FileNotFoundError:
        return None


def attribute(path: Path, name: str) -> str:
    """The extended attribute; empty while it has none."""
    try:
        return os.getxattr(path, name).decode()
    except OSError as e:
        assert e.errno == errno.ENODATA
        return ""
