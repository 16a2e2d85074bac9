"""jobs/: states as names, logs that grow, ctl."""
import errno
import os
import re
import subprocess

import pytest

from harness import wait_for
from images import gate, tiff, write_pipeline


@pytest.fixture
def gated(make_mount, tmp_path):
    """A mount whose jobs wait in their first step until the file `open` exists."""
    pipeline = write_pipeline(tmp_path / "gate.json", gate(tmp_path / "open"))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1").start()
    yield m
    (tmp_path / "open").touch()


def start_job(m, name="a.tif", seed=1):
    """The directory of the job of a new image once its first step runs and has said so."""
    (m.path / "inbox/flood").mkdir(exist_ok=True)
    (m.path / "inbox/flood" / name).write_bytes(tiff(seed))
    jobs = wait_for("the job is listed", lambda: list((m.path / "jobs").iterdir()))
    wait_for("the first step runs", lambda: (jobs[0] / "steps/look/state").read_text() == "running\n")
    wait_for("it has written", lambda: (jobs[0] / "steps/look/stdout.txt").read_text() == "waiting\n")
    return jobs[0]


def finish(m, job, tmp_path):
    (tmp_path / "open").touch()
    wait_for("the job ends", lambda: (job / "state").read_text() == "completed\n")


def test_a_job_from_running_to_completed(gated, tmp_path):
    job = start_job(gated)
    assert re.fullmatch(r"flood-a-[0-9a-f]{8}", job.name)
    assert sorted(os.listdir(job)) == ["ctl", "events", "image", "state", "steps", "waiting_for"]
    assert sorted(os.listdir(job / "steps")) == ["01-look.running", "02-tell.waiting", "03-merge.waiting"]
    assert (job / "state").read_text() == "running\n"
    assert (job / "steps/look/exit_code").read_text() == ""
    assert "look" in (job / "steps/tell/waiting_for").read_text()
    assert (job / "steps/tell/depends_on").read_text() == "01-look\n"
    assert (job / "steps/look/node").read_text().strip()
    assert "{image}" in (job / "steps/look/command").read_text()
    assert (job / "image").read_bytes() == tiff(1)
    assert os.readlink(job / "image") == "../../containers/ada/images/flood/a.tif"
    assert (job / "ctl").read_text() == "cancel\nhold\npriority N\nkeep DURATION\ndelete\n"

    finish(gated, job, tmp_path)
    assert sorted(os.listdir(job / "steps")) == ["01-look.completed", "02-tell.completed", "03-merge.completed"]
    look = job / "steps/look"
    assert (look / "stdout.txt").read_text() == "waiting\npassed\n"
    assert (job / "steps/tell/stderr.txt").read_text() == "told\n"
    assert (look / "exit_code").read_text() == "0\n"
    started, finished = (look / "started").read_text(), (look / "finished").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", started) and started <= finished
    assert (job / "events").read_text().count("\n") >= 3
    assert (job / "ctl").read_text() == "retry STEP\nkeep DURATION\ndelete\n"


def test_every_spelling_of_a_step_is_found_whatever_its_state(gated, tmp_path):
    job = start_job(gated)
    spellings = ["look", "01-look", "01-look.running", "01-look.completed", "look.waiting"]
    inodes = {(job / "steps" / name).stat().st_ino for name in spellings}
    assert len(inodes) == 1
    listed = {e.name: e.inode() for e in os.scandir(job / "steps")}
    assert listed["01-look.running"] in inodes
    for name in ("02-look", "01-look.", "01-look.runnin", "1-look", "loo", "01-look.running.running"):
        assert not (job / "steps" / name).exists(), name
    finish(gated, job, tmp_path)
    assert (job / "steps/01-look.running/state").read_text() == "completed\n"
    assert {(job / "steps" / name).stat().st_ino for name in spellings} == inodes


def test_sizes_are_true_and_a_log_grows_under_its_reader(gated, tmp_path):
    job = start_job(gated)
    log = job / "steps/look/stdout.txt"
    assert log.stat().st_size == len("waiting\n")
    with open(log, "rb", buffering=0) as f:
        assert f.read(100) == b"waiting\n"
        assert f.read(100) == b"", "end of file is no wait"
        finish(gated, job, tmp_path)
        assert f.read(100) == b"passed\n", "the same handle reads what came"
    for path in job.rglob("*"):
        if path.is_file() and path.name != "ctl":
            assert path.stat().st_size == len(path.read_bytes()), path


def test_an_open_file_is_a_snapshot(gated, tmp_path):
    job = start_job(gated)
    with open(job / "state", "rb", buffering=0) as f:
        finish(gated, job, tmp_path)
        assert f.read() == b"running\n"


def test_cancel_is_done_when_write_returns(gated):
    job = start_job(gated)
    with pytest.raises(OSError) as e:
        (job / "ctl").write_text("dance\n")
    assert e.value.errno == errno.EINVAL
    subprocess.run(f"echo cancel > {job}/ctl", shell=True, check=True, timeout=30)
    assert (job / "state").read_text() == "cancelled\n"
    assert not any("running" in name for name in os.listdir(job / "steps"))
    assert (job / "waiting_for").read_text().strip()
    with pytest.raises(OSError) as e:
        (job / "ctl").write_text("cancel")
    assert e.value.errno == errno.EBUSY
    wait_for("the image has left inbox/", lambda: not (gated.path / "inbox/flood/a.tif").exists(), 15)


def test_cancel_by_append(gated):
    job = start_job(gated)
    subprocess.run(f"printf cancel >> {job}/ctl", shell=True, check=True, timeout=30)
    assert (job / "state").read_text() == "cancelled\n"


def test_nothing_in_jobs_can_be_changed(gated):
    job = start_job(gated)
    changes = {
        "unlink": lambda: os.unlink(job / "state"),
        "rmdir": lambda: os.rmdir(job),
        "mkdir": lambda: os.mkdir(job / "x"),
        "create": lambda: open(job / "x", "w"),
        "write": lambda: open(job / "state", "w"),
        "rename": lambda: os.rename(job / "state", job / "x"),
        "truncate": lambda: os.truncate(job / "steps/look/stdout.txt", 0),
        "chmod": lambda: os.chmod(job / "state", 0o777),
        "log": lambda: open(job / "steps/look/stdout.txt", "w"),
    }
    for what, change in changes.items():
        with pytest.raises(OSError) as e:
            change()
        assert e.value.errno in (errno.EPERM, errno.EROFS), what


def test_tools_walk_the_tree_of_a_running_job(gated, tmp_path):
    job = start_job(gated)
    for command in (["ls", "-lR", str(gated.path / "jobs")], ["find", str(job), "-type", "f"],
                    ["cp", "-a", str(job), str(tmp_path / "copy")], ["grep", "-r", "waiting", str(job)],
                    ["tar", "cf", "/dev/null", "-C", str(gated.path), "jobs"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "copy/steps/01-look.running/stdout.txt").read_text() == "waiting\n"


def test_status_files_and_the_table(gated, tmp_path):
    from harness import program
    job = start_job(gated, "x&y.tif")
    table = subprocess.run([program(), "status", str(gated.path)], capture_output=True, text=True, timeout=30)
    assert table.returncode == 0 and job.name in table.stdout and "running" in table.stdout
    raw = subprocess.run([program(), "status", "--json", str(gated.path)], capture_output=True, text=True, timeout=30)
    import json
    status = json.loads(raw.stdout)
    assert [j["id"] for j in status["jobs"]] == [job.name]
    assert [s["state"] for s in status["jobs"][0]["steps"]] == ["running", "waiting", "waiting"]
    assert status["http"]["requests"] > 0
    page = (gated.path / "status.html").read_text()
    assert job.name in page and "<script" not in page


def test_pool(gated):
    start_job(gated)
    state = (gated.path / "pool/state").read_text().splitlines()
    assert state[0] == "steady" and "dedicated 1 of 1" in state and not any("trouble" in s for s in state)
    nodes = list((gated.path / "pool/nodes").iterdir())
    assert len(nodes) == 1 and "running_tasks 1" in nodes[0].read_text()
    with pytest.raises(OSError) as e:
        (gated.path / "pool/ctl").write_text("resize lots")
    assert e.value.errno == errno.EINVAL
    assert not (gated.path / "pool/nodes/none").exists()
