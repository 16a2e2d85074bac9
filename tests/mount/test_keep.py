"""ctl delete and keep, deleted images, and what the janitor removes: never a result."""
import errno
import json
import os
import re
import sqlite3
import sys
import time
import urllib.request

import pytest

from harness import ROOT, batch_call, batch_get, trap, wait_for
from images import tiff
from test_retry import Counted, copy_image, run_job, tell, the_map, wait_state

sys.path.insert(0, str(ROOT / "tests/emulator"))
from azure_sign import shared_key  # noqa: E402


@pytest.fixture
def counted(tmp_path):
    return Counted(tmp_path / "counted")


@pytest.fixture
def make(make_mount, counted):
    def make(*options, **kw):
        m = make_mount(f"pipeline={counted.path}", "poll=0.1", "attr_timeout=0.5", *options, **kw).start()
        assets = m.path / "containers/ada/assets"
        assets.mkdir(exist_ok=True)
        (assets / "model.txt").write_text("one\n")
        return m
    return make


def blobs(m, folder):
    """Paths of all files below a folder of the container."""
    top = m.path / "containers/ada" / folder
    return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, files in os.walk(top) for f in files)


def part(m, job):
    try:
        return json.loads((m.path / f"containers/ada/parts/flood/counted/{job}/part.json").read_text())
    except OSError:  # replaced while it is read
        return {"result": None}


def batch_jobs(m):
    return sorted(j["id"] for j in batch_get(m.engine_settings(), "/jobs") if j["state"] != "deleting")


def metadata(m, job):
    """The manifest's, as the service has it."""
    with sqlite3.connect(f"file:{m.state}/blob/blob.db?mode=ro", uri=True, timeout=10) as db:
        return db.execute("SELECT metadata FROM blob WHERE name = ?", (f"jobs/{job}.json",)).fetchone()[0]


def images_of(m):
    """The jobs in the newest map."""
    try:
        summary = json.loads((m.path / "results/flood/summary.json").read_text())
    except OSError:
        return None
    assert summary["expected"] == len(summary["images"])
    return sorted(i["job"] for i in summary["images"] if i["result"] == "completed")


def delete_blob(m, blob):
    """As another program would."""
    parts = dict(p.split("=", 1) for p in m.engine_settings()["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
    url = f"{parts['BlobEndpoint']}/ada/{blob}"
    headers = shared_key(parts["AccountName"], parts["AccountKey"], "DELETE", url, {"x-ms-delete-snapshots": "include"})
    urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="DELETE"), timeout=10)


def gate(counted):
    """The first step of what is copied from now on runs until counted.folder/open is there."""
    wait = f"while ! test -e {counted.folder}/open; do sleep 0.05; done"
    counted.commands["look"] = wait + "; wc -c < {image} > look.txt"
    counted.write()


def wait_removed(m, job):
    wait_for("the work is gone", lambda: not blobs(m, f"work/{job}"), 20)
    wait_for("the Batch jobs are gone", lambda: not [j for j in batch_jobs(m) if j.startswith(job)], 20)
    wait_for("the manifest says so", lambda: "done" in metadata(m, job), 20)


def test_delete_of_an_ended_job(make, counted):
    m = make()
    job = run_job(m, "completed")
    # Whatever happens, Batch ends the job and its tasks by itself.
    (seen,) = batch_get(m.engine_settings(), "/jobs")
    assert re.fullmatch(r"P\d+D(T\d+H)?", seen["constraints"]["maxWallClockTime"])
    for task in batch_get(m.engine_settings(), f"/jobs/{job.name}/tasks"):
        assert task["constraints"]["maxWallClockTime"] == "P1DT2H"
    assert "delete\n" in (job / "ctl").read_text() and "keep DURATION\n" in (job / "ctl").read_text()
    assert tell(job, "delete") == 0
    assert job.name not in os.listdir(m.path / "jobs")
    with pytest.raises(FileNotFoundError):
        (job / "state").read_text()
    wait_removed(m, job.name)
    stone = part(m, job.name)
    assert (stone["result"], stone["run"]) == ("deleted", 2)
    wait_for("its files are gone", lambda: blobs(m, f"parts/flood/counted/{job.name}") == ["part.json"])
    # The image stays, is no longer in inbox/, and starts nothing by itself.
    assert blobs(m, "images/flood") == ["a.tif"] and "a.tif" not in os.listdir(m.path / "inbox/flood")
    m.unmount()
    m.start()
    wait_for("jobs are listed", lambda: json.loads((m.path / "status.json").read_text())["loaded"])
    time.sleep(0.5)
    assert job.name not in os.listdir(m.path / "jobs") and counted.runs()["look"] == 1
    # Copied again it is a new run of all.
    copy_image(m)
    wait_for("the job is there again", lambda: job.exists())
    wait_state(job, "completed")
    assert counted.runs() == {"look": 2, "left": 2, "right": 2, "tell": 2}
    assert job.name + "-r3" in batch_jobs(m)
    wait_for("its part is there", lambda: part(m, job.name)["result"] == "completed")
    wait_for("the map has it", lambda: the_map(m) != "")


def test_delete_cancels_first(make, counted):
    gate(counted)
    m = make()
    copy_image(m)
    job = wait_for("the job", lambda: next((m.path / "jobs").iterdir(), None))
    wait_for("the first step runs", lambda: (job / "steps/look/state").read_text() == "running\n")
    assert (job / "ctl").read_text() == "cancel\nhold\npriority N\nkeep DURATION\ndelete\n"
    assert tell(job, "delete") == 0
    assert job.name not in os.listdir(m.path / "jobs")
    wait_removed(m, job.name)
    assert counted.runs()["left"] == 0


@pytest.mark.parametrize("running", [False, True])
def test_a_crash_amid_a_deletion(make, counted, running):
    m = make()
    if running:
        m.unmount()
        gate(counted)
        m.start()
        copy_image(m)
        job = wait_for("the job", lambda: next((m.path / "jobs").iterdir(), None))
        wait_for("the first step runs", lambda: (job / "steps/look/state").read_text() == "running\n")
    else:
        job = run_job(m, "completed")
    m.unmount()
    m.start(ADAFS_CRASH_AT="after-delete")
    wait_for("the job is listed again", lambda: (job / "ctl").exists())
    tell(job, "delete")
    wait_for("adafs kills itself", lambda: not m.alive(), 30)
    m.start()
    wait_removed(m, job.name)
    wait_for("it is not listed", lambda: job.name not in os.listdir(m.path / "jobs"))


@pytest.mark.parametrize("place", ["inbox", "containers/ada/images"])
def test_a_deleted_image_leaves_the_map(make, counted, place):
    counted.fail("tell")
    m = make()
    job = run_job(m, "failed")  # a failed one is still in inbox/
    counted.fail("tell", False)
    if place != "inbox":
        assert tell(job, "retry") == 0
        wait_state(job, "completed")
    (m.path / "inbox/flood/b.tif").write_bytes(tiff(2, 48))
    (other,) = m.wait_jobs(2).keys() - {job.name}
    wait_state(m.path / "jobs" / other, "completed")
    (m.path / place / "flood/a.tif").unlink()
    wait_for("its part is a tombstone", lambda: part(m, job.name)["result"] == "deleted")
    wait_for("its files are gone", lambda: blobs(m, f"parts/flood/counted/{job.name}") == ["part.json"])
    wait_for("the job says so", lambda: "no longer in the map" in (job / "events").read_text())
    wait_for("the map is the other's alone", lambda: images_of(m) == [other])
    assert len(the_map(m).splitlines()) == 3
    assert tell(job, "retry") == errno.ESTALE
    ran = counted.runs()["look"]
    copy_image(m)  # the same content is a new run of all
    wait_for("it runs again", lambda: counted.runs()["look"] == ran + 1)
    wait_state(job, "completed")
    wait_for("the map has both", lambda: images_of(m) == sorted([job.name, other]))
    assert len(the_map(m).splitlines()) == 6


@pytest.mark.parametrize("killed", [False, True])
def test_files_of_a_part_stay_while_a_merge_may_read_them(make, counted, killed):
    m = make()
    job = run_job(m, "completed")
    m.unmount()
    gate(counted)
    m.start()
    (m.path / "inbox/flood/b.tif").write_bytes(tiff(2))
    running = wait_for("its job", lambda: next((j for j in (m.path / "jobs").iterdir() if "-b-" in j.name), None))
    (m.path / "containers/ada/images/flood/a.tif").unlink()
    wait_for("the part is a tombstone", lambda: part(m, job.name)["result"] == "deleted")
    wait_for("the job says so", lambda: "no longer in the map" in (job / "events").read_text())
    if killed:
        m.kill()
        m.start()
    time.sleep(2)
    assert len(blobs(m, f"parts/flood/counted/{job.name}")) > 1
    (counted.folder / "open").touch()
    wait_state(running, "completed")
    wait_for("its files are gone", lambda: blobs(m, f"parts/flood/counted/{job.name}") == ["part.json"])
    assert images_of(m) == [running.name]


@pytest.mark.parametrize("point", ["after-drop", "after-merge-manifest"])
def test_a_crash_before_the_map_is_made_anew(make, counted, point):
    m = make()
    job = run_job(m, "completed")
    m.unmount()
    m.start(ADAFS_CRASH_AT=point)
    wait_for("the job is listed again", lambda: (job / "ctl").exists())
    tell(job, "delete")
    wait_for("adafs kills itself", lambda: not m.alive(), 30)
    m.start()
    wait_for("the map is empty", lambda: images_of(m) == [] and the_map(m) == "")


def test_an_image_that_others_delete(make, counted):
    """By another program, while no mount was there: a running job is cancelled, and the map is made anew."""
    m = make()
    job = run_job(m, "completed")
    m.unmount()
    gate(counted)
    m.start()
    (m.path / "inbox/flood/b.tif").write_bytes(tiff(2))
    running = wait_for("its job", lambda: next((j for j in (m.path / "jobs").iterdir() if "-b-" in j.name), None))
    wait_for("the first step runs", lambda: (running / "steps/look/state").read_text() == "running\n")
    m.kill()
    for name in ("a.tif", "b.tif"):
        delete_blob(m, f"images/flood/{name}")
    m.start()
    wait_state(running, "cancelled")
    wait_for("the map is empty", lambda: images_of(m) == [] and the_map(m) == "")
    assert (job / "state").read_text() == "completed\n"


def test_work_goes_after_keep_and_results_stay(make, counted):
    m = make("keep=2s")
    job = run_job(m, "completed")
    before = the_map(m)
    assert "keep" in (job / "ctl").read_text()
    assert (job / "steps/look/stdout.txt").exists() and blobs(m, f"work/{job.name}")
    wait_for("the work is gone", lambda: not blobs(m, f"work/{job.name}"), 20)
    wait_for("the job says so", lambda: "logs were removed" in (job / "waiting_for").read_text())
    assert batch_jobs(m) == [] and (job / "state").read_text() == "completed\n"
    assert (job / "steps/look/stdout.txt").read_bytes() == b""
    assert tell(job, "keep 3d") == errno.EBUSY
    assert the_map(m) == before and part(m, job.name)["result"] == "completed"
    # There is nothing to build on: a retry runs all that it needs.
    counted.fail("tell")
    assert tell(job, "retry tell") == 0
    wait_state(job, "failed")
    assert counted.runs() == {"look": 2, "left": 2, "right": 2, "tell": 2}
    wait_for("the work of run 2 is gone, too", lambda: not blobs(m, f"work/{job.name}"), 20)
    wait_for("the job says so", lambda: "logs were removed" in (job / "waiting_for").read_text())
    counted.fail("tell", False)
    assert tell(job, "retry") == 0
    wait_state(job, "completed")
    assert counted.runs() == {"look": 3, "left": 3, "right": 3, "tell": 3}
    wait_for("the map has it", lambda: the_map(m) != "")


def test_maps_of_yesterday_go_but_for_two(make, counted):
    """The newest complete ones stay whatever their age; a day has to pass for the others."""
    m = make()
    for seed in range(1, 5):  # a map for each content
        copy_image(m, seed)
        m.wait_jobs(seed)
    maps = m.path / "containers/ada/merged/flood/counted"
    wait_for("four maps", lambda: len(os.listdir(maps)) == 4)
    by_count = sorted(os.listdir(maps), key=lambda name: int(name.split("-")[0]))
    m.unmount()
    m.stop_engine()
    back_us = 86400 * 1500000  # a day and a half

    def earlier(found):
        return f"adafsended:{int(found[1]) - back_us}"
    with sqlite3.connect(m.state / "blob/blob.db") as db:
        db.execute("UPDATE blob SET stamp = stamp - ? WHERE name LIKE 'merged/%'", (back_us,))
        for name, text in db.execute("SELECT name, metadata FROM blob WHERE name LIKE 'jobs/%'").fetchall():
            db.execute("UPDATE blob SET metadata = ? WHERE name = ?", (re.sub(r"adafsended:(\d+)", earlier, text), name))
    m.start()
    wait_for("two maps are left", lambda: sorted(os.listdir(maps)) == sorted(by_count[2:]), 20)
    assert the_map(m) != ""


def test_keep_is_the_jobs_own(make, counted):
    """ctl keep outlives the mount, and another mount with a shorter keep obeys."""
    m = make()
    job = run_job(m, "completed")
    for bad in ("keep", "keep 3", "keep -1d", "keep 0s", "keep 2 d", "keep never"):
        assert tell(job, bad) == errno.EINVAL, bad
    assert tell(job, "keep forever") == 0
    assert "kept forever" in (job / "events").read_text()
    m.unmount()
    m.options.append("keep=1s")
    m.start()
    wait_state(job, "completed")
    time.sleep(2)
    assert blobs(m, f"work/{job.name}")
    assert tell(job, "keep PT1S") == 0
    wait_for("the work is gone", lambda: not blobs(m, f"work/{job.name}"), 20)


def test_keep_of_a_run_that_waits_for_its_place(make, counted, emulator):
    """What it writes down does not say that the run is in Batch."""
    counted.fail("tell")
    m = make("pool=local", env=emulator.settings)
    job = run_job(m, "failed")
    counted.fail("tell", False)
    batch_call(emulator.settings, "POST", "/jobs", {"id": "others", "poolInfo": {"poolId": "local"}})
    trap(emulator, job_quota=1)
    tell(job, "retry")
    waits = job / "waiting_for"
    wait_for("run 2 waits", lambda: "ActiveJobAndScheduleQuotaReached" in waits.read_text())
    assert tell(job, "keep 7d") == 0
    m.kill()
    m.start()
    wait_for("it waits again", lambda: waits.exists() and "ActiveJobAndScheduleQuotaReached" in waits.read_text())
    assert (job / "state").read_text() == "queued\n"
    batch_call(emulator.settings, "DELETE", "/jobs/others")
    wait_state(job, "completed")
    assert counted.runs() == {"look": 1, "left": 1, "right": 1, "tell": 2}


def test_a_bad_keep_is_refused(make_mount):
    m = make_mount("keep=soon")
    with pytest.raises(pytest.fail.Exception):
        m.start()
    assert "keep: 'soon' is no duration" in m.log.read_text()
