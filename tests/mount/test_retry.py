"""ctl: retry runs what did not succeed and what follows from it; hold, release, priority."""
import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from harness import batch_get, wait_for
from images import tiff

MERGE = {"command": "cat {parts}/*/report.txt > all.txt", "outputs": {"all": "all.txt"},
         "when_empty": {"all": ""}}


class Counted:
    """A pipeline whose steps count their runs in a folder, and fail while a file fail-<step> is there."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.path = folder / "counted.json"
        self.commands = {"look": "wc -c < {image} > look.txt", "left": "cat {look.o} {model} > left.txt",
                         "right": "cat {look.o} > right.txt", "tell": "cat {left.o} {right.o} > report.txt"}
        self.write()

    def write(self):
        steps = []
        for name, command in self.commands.items():
            guard = f"echo x >> {self.folder}/ran-{name}; ! test -e {self.folder}/fail-{name} || exit 7; "
            steps.append({"name": name, "command": guard + command,
                          "outputs": {"o": "report.txt" if name == "tell" else name + ".txt"}})
        steps[-1]["result"] = True
        self.path.write_text(json.dumps({"name": "counted", "assets": {"model": "assets/model.txt"},
                                         "steps": steps, "merge": MERGE}))

    def fail(self, step, on=True):
        (self.folder / f"fail-{step}").touch() if on else (self.folder / f"fail-{step}").unlink()

    def runs(self) -> dict[str, int]:
        return {name: len(p.read_text().split()) if (p := self.folder / f"ran-{name}").exists() else 0
                for name in self.commands}


@pytest.fixture
def counted(tmp_path):
    return Counted(tmp_path / "counted")


@pytest.fixture
def m(make_mount, counted):
    mount = make_mount(f"pipeline={counted.path}", "poll=0.1").start()
    assets = mount.path / "containers/ada/assets"
    assets.mkdir(exist_ok=True)
    (assets / "model.txt").write_text("one\n")
    return mount


def copy_image(m, seed=1):
    (m.path / "inbox/flood").mkdir(exist_ok=True)
    (m.path / "inbox/flood/a.tif").write_bytes(tiff(seed))


def run_job(m, state):
    copy_image(m)
    assert set(m.wait_jobs(1).values()) == {state}
    return next((m.path / "jobs").iterdir())


def tell(job, verb):
    """What a shell would see of the write."""
    try:
        with open(job / "ctl", "w") as f:
            f.write(verb + "\n")
    except OSError as e:
        return e.errno
    return 0


def wait_state(job, state):
    """Of a mount that has just begun, too: it does not know its jobs yet."""
    wait_for(f"the job is {state}", lambda: (job / "state").exists() and (job / "state").read_text() == state + "\n")


def the_map(m) -> str:
    return (m.path / "results/flood/all.txt").read_text()


def test_a_retry_runs_the_failed_step_and_what_follows(m, counted):
    counted.fail("left")
    job = run_job(m, "failed")
    assert counted.runs() == {"look": 1, "left": 1, "right": 1, "tell": 0}
    assert sorted(os.listdir(job / "steps")) == ["01-look.completed", "02-left.failed", "03-right.completed",
                                                 "04-tell.skipped", "05-merge.completed"]
    assert the_map(m) == ""
    assert "retry\n" in (job / "ctl").read_text()
    counted.fail("left", False)
    assert tell(job, "retry") == 0
    assert (job / "state").read_text() != "failed\n"
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 2, "right": 1, "tell": 1}
    wait_for("the map has it", lambda: the_map(m) != "")
    look = job / "steps/look"
    assert "run 1" in (look / "waiting_for").read_text()
    assert (look / "node").read_text().strip() and (look / "finished").read_text()
    assert (job / "steps/right/exit_code").read_text() == "0\n"
    assert "retry: run 2" in (job / "events").read_text()
    assert "retry\n" not in (job / "ctl").read_text()
    assert tell(job, "retry") == errno.EBUSY
    assert "nothing to retry" in (job / "events").read_text()
    summary = json.loads((m.path / "results/flood/summary.json").read_text())
    assert (summary["expected"], summary["done"], summary["failed"]) == (1, 1, 0)


def test_a_retry_of_one_step_runs_it_again_whatever_it_did(m, counted):
    job = run_job(m, "completed")
    assert tell(job, "retry nonsense") == errno.ENOENT
    assert tell(job, "retry 02-left") == 0
    wait_for("run 2 is over", lambda: counted.runs()["tell"] == 2)
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 2, "right": 1, "tell": 2}


def test_copying_a_failed_image_again_is_a_retry(m, counted):
    counted.fail("tell")
    job = run_job(m, "failed")
    counted.fail("tell", False)
    copy_image(m)
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 1, "right": 1, "tell": 2}


def test_only_what_changed_in_the_pipeline_runs_again(m, counted):
    job = run_job(m, "completed")
    before = the_map(m)
    m.unmount()
    counted.commands["right"] = "cat {look.o} {look.o} > right.txt"
    counted.write()
    m.start()
    assert "retry\n" in (job / "ctl").read_text()
    assert tell(job, "retry") == 0
    wait_for("run 2 is over", lambda: counted.runs()["tell"] == 2)
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 1, "right": 2, "tell": 2}
    wait_for("the new map", lambda: the_map(m) != before)


def test_another_version_of_an_asset_runs_its_readers_again(m, counted):
    job = run_job(m, "completed")
    (m.path / "containers/ada/assets/model.txt").write_text("two\n")
    counted.fail("tell")
    assert tell(job, "retry tell") == 0  # the asset counts too, though another step is named
    wait_state(job, "failed")
    assert counted.runs() == {"look": 1, "left": 2, "right": 1, "tell": 2}
    counted.fail("tell", False)
    assert tell(job, "retry") == 0
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 2, "right": 1, "tell": 3}
    assert "two" in the_map(m)


@pytest.mark.parametrize("point", ["after-retry", "after-job", "before-patch", "before-manifest"])
def test_a_crash_amid_a_retry_forgets_nothing(m, counted, point):
    counted.fail("left")
    job = run_job(m, "failed")
    counted.fail("left", False)
    m.unmount()
    m.start(ADAFS_CRASH_AT=point)
    wait_for("the job is listed again", lambda: (job / "ctl").exists())
    tell(job, "retry")
    wait_for("adafs kills itself", lambda: not m.alive(), 30)
    m.start()
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 2, "right": 1, "tell": 1}
    ids = sorted(j["id"] for j in batch_get(m.engine_settings(), "/jobs"))
    assert ids == [job.name, job.name + "-r2"]


def test_verbs_in_the_wrong_state_are_refused(m, counted):
    job = run_job(m, "completed")
    for verb in ("cancel", "hold", "release", "priority 3"):
        assert tell(job, verb) == errno.EBUSY, verb
    for verb in ("priority 1001", "priority x", "dance", "hold on"):
        assert tell(job, verb) == errno.EINVAL, verb


def test_a_retry_of_replaced_content_is_refused(m, counted):
    counted.fail("look")
    job = run_job(m, "failed")
    copy_image(m, seed=2)
    wait_for("a second job", lambda: len(m.jobs()) == 2)
    assert tell(job, "retry") == errno.ESTALE
    assert "other content" in (job / "events").read_text()


def test_hold_and_release(m, counted):
    m.unmount()
    counted.commands["look"] = (f"echo waiting; while ! test -e {counted.folder}/open; do sleep 0.05; done; "
                                "wc -c < {image} > look.txt")
    counted.write()
    m.start()
    copy_image(m)
    job = wait_for("the job", lambda: next((m.path / "jobs").iterdir(), None))
    wait_for("the first step runs", lambda: (job / "steps/look/state").read_text() == "running\n")
    assert (job / "ctl").read_text() == "cancel\nhold\npriority N\nkeep DURATION\ndelete\n"
    assert tell(job, "release") == errno.EBUSY
    assert tell(job, "priority 5") == 0
    assert batch_get(m.engine_settings(), "/jobs")[0]["priority"] == 5
    assert tell(job, "hold") == 0
    assert tell(job, "hold") == errno.EBUSY
    assert "release\n" in (job / "ctl").read_text()
    (counted.folder / "open").touch()
    wait_for("what ran has ended", lambda: (job / "steps/look/state").read_text() == "completed\n")
    wait_for("it says why nothing more starts", lambda: "held by the user" in (job / "waiting_for").read_text())
    assert "held by the user" in (job / "steps/left/waiting_for").read_text()
    m.unmount()
    m.start()  # it is Batch that holds it: any mount knows
    wait_for("it still says so",
             lambda: (job / "waiting_for").exists() and "held by the user" in (job / "waiting_for").read_text())
    assert counted.runs()["left"] == 0
    assert tell(job, "release") == 0
    wait_state(job, "completed")


def test_shards_run_side_by_side_and_come_together(make_mount, tmp_path):
    fail = tmp_path / "fail"
    fail.touch()
    pipeline = tmp_path / "split.json"
    pipeline.write_text(json.dumps({"name": "split", "steps": [
        {"name": "tile", "command": "mkdir -p t/0 t/1; echo a > t/0/a.txt; echo b > t/0/b.txt; echo c > t/1/c.txt",
         "outputs": {"t": "t/**/*.txt"}},
        {"name": "predict", "shards": 3, "outputs": {"m": "m/*"}, "command":
         f"echo x >> {tmp_path}/ran-$ADAFS_SHARD; test $ADAFS_SHARD != 1 -o ! -e {fail} || exit 9; "
         "mkdir m; for f in {tile.t}/*; do tr a-z A-Z < $f > m/$(basename $f); done"},
        {"name": "tell", "command": "cat {predict.m}/* > report.txt", "outputs": {"o": "report.txt"}, "result": True}],
        "merge": MERGE}))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1").start()
    job = run_job(m, "failed")
    assert sorted(os.listdir(job / "steps")) == [
        "01-tile.completed", "02-predict-0.completed", "02-predict-1.failed", "02-predict-2.completed",
        "03-tell.skipped", "04-merge.completed"]
    assert (job / "steps/predict-1/exit_code").read_text() == "9\n"
    assert "no share" in (job / "steps/02-predict-2/stderr.txt").read_text()
    fail.unlink()
    assert tell(job, "retry predict") == 0
    wait_state(job, "completed")
    wait_for("the map", lambda: the_map(m) == "A\nB\nC\n")
    assert [len((tmp_path / f"ran-{k}").read_text().split()) for k in (0, 1)] == [2, 2]
    assert not (tmp_path / "ran-2").exists()
    fail.touch()
    assert tell(job, "retry predict-1") == 0
    wait_state(job, "failed")
    fail.unlink()
    assert tell(job, "retry") == 0
    wait_state(job, "completed")
    assert [len((tmp_path / f"ran-{k}").read_text().split()) for k in (0, 1)] == [2, 4]
    subprocess.run(["grep", "-q", "B", str(m.path / "results/flood/all.txt")], check=True)


def test_a_failure_names_what_its_end_says(m, counted):
    m.unmount()
    counted.commands["look"] = "true"
    counted.write()
    m.start()
    job = run_job(m, "failed")
    failure = (job / "steps/look/failure").read_text()
    assert "exit code 66" in failure and "look.txt" in failure
    assert "look.txt" in (job / "waiting_for").read_text()
    assert "look.txt" in (job / "events").read_text()
