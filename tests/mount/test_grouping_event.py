"""grouping=event: the images of an event are tasks of one Batch job, which merges them, too."""
import json
import os

import pytest

from harness import batch_get, trap, wait_for
from images import tiff
from site_of_blobs import Blobs
from test_merges import write_large

N = 70


@pytest.fixture
def grouped(make_mount, tmp_path):
    def make(*options, **kw):
        pipeline = write_large(tmp_path / "large.json", **kw)
        m = make_mount(f"pipeline={pipeline}", "poll=0.2", "attr_timeout=1", "grouping=event", "settle=1", *options)
        return m.start()
    return make


def copy(m, n, first=0, event="flood"):
    inbox = m.path / "inbox" / event
    inbox.mkdir(exist_ok=True)
    for i in range(first, first + n):
        (inbox / f"i{i:03}.tif").write_bytes(tiff(i))


def whole_map(m, names, event="flood"):
    shown = m.path / f"results/{event}/report.txt"
    wait_for("the map is whole", lambda: shown.exists() and sorted(shown.read_text().split()) == sorted(names), 90)
    return json.loads((m.path / f"results/{event}/summary.json").read_text())


def counts(summary):
    return [summary[k] for k in ("expected", "done", "empty", "failed", "skipped", "unassessed")]


def batch_jobs(m):
    return {j["id"]: j["state"] for j in batch_get({**m.env, **m.engine_settings()}, "/jobs")}


def of_images(m):
    return {j: s for j, s in m.jobs().items() if "-merge-" not in j}


def test_an_event_is_one_batch_job(grouped):
    m = grouped()
    copy(m, N)
    (m.path / "inbox/flood/bad.tif").write_bytes(tiff(1, side=40))
    summary = whole_map(m, [f"i{i:03}.tif" for i in range(N)])
    m.wait_jobs(N + 2)
    assert counts(summary) == [N + 1, N, 0, 1, 0, 0]
    (event,) = batch_jobs(m)
    assert event.startswith("flood-merge-") and summary["job"] == event
    images = of_images(m)
    assert len(images) == N + 1 and sorted(images.values()) == N * ["completed"] + ["failed"]
    (bad,) = [j for j, s in images.items() if s == "failed"]
    tasks = batch_get({**m.env, **m.engine_settings()}, f"/jobs/{event}/tasks")
    assert sorted(t["id"] for t in tasks) == sorted([f"{j[-8:]}-01-tell" for j in images] +
                                                    ["01-leaf-0", "01-leaf-1", "02-merge"])
    assert sorted(s.name for s in (m.path / "jobs" / bad / "steps").iterdir()) == ["01-tell.failed"]
    # A later mount with an empty state directory knows all of it, and runs nothing.
    before = m.jobs()
    m.unmount()
    m.start()
    wait_for("the jobs are known", lambda: m.jobs() == before, 20)
    # What comes later is a further Batch job; a failed one is retried in one of its own.
    copy(m, 2, N)
    whole_map(m, [f"i{i:03}.tif" for i in range(N + 2)])
    (m.path / "jobs" / bad / "ctl").write_text("retry\n")
    wait_for("it has failed again", lambda: f"{bad}-r2" in batch_jobs(m) and m.jobs()[bad] == "failed", 20)
    assert len([j for j in batch_jobs(m) if "-merge-" in j]) >= 2
    assert counts(whole_map(m, [f"i{i:03}.tif" for i in range(N + 2)]))[:4] == [N + 3, N + 2, 0, 1]


def test_members_wait_for_the_rest_and_are_told_apart(grouped, tmp_path):
    m = grouped("settle=4")
    copy(m, 2)
    wait_for("both are shown", lambda: len(of_images(m)) == 2, 5)
    job = min(of_images(m))
    told = (m.path / "jobs" / job / "waiting_for")
    wait_for("it says so", lambda: "waits for the rest of event 'flood'" in told.read_text(), 5)
    assert batch_jobs(m) == {}
    # The unmount waits for nobody, and submits what there is.
    m.unmount()
    m.start()
    whole_map(m, ["i000.tif", "i001.tif"])
    assert len(batch_jobs(m)) == 1


def test_verbs_of_a_member(make_mount, tmp_path):
    pipeline = tmp_path / "slow.json"
    pipeline.write_text(json.dumps({
        "name": "slow",
        "steps": [{"name": "look", "command": f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo x > a",
                   "outputs": {"a": "a"}},
                  {"name": "tell", "command": "basename {image} {look.a} > report.txt; basename {image} > report.txt",
                   "outputs": {"o": "report.txt"}, "result": True}],
        "merge": {"command": "cat {parts}/*/report.txt > report.txt", "outputs": {"all": "report.txt"},
                  "when_empty": {"all": ""}}}))
    m = make_mount(f"pipeline={pipeline}", "poll=0.2", "attr_timeout=1", "grouping=event", "settle=1").start()
    copy(m, 3)
    wait_for("all are shown", lambda: len(of_images(m)) == 3, 5)
    first, second, third = sorted(of_images(m))
    wait_for("it runs", lambda: m.jobs()[first] == "running", 20)
    event, = batch_jobs(m)
    assert (m.path / "jobs" / first / "ctl").read_text().split("\n")[0] == "cancel"
    with pytest.raises(OSError) as refused:
        (m.path / "jobs" / first / "ctl").write_text("hold\n")
    assert refused.value.errno == 16
    assert "hold" in (m.path / "jobs" / event / "ctl").read_text()
    (m.path / "jobs" / second / "ctl").write_text("cancel\n")
    (tmp_path / "go").touch()
    whole = whole_map(m, ["i000.tif", "i002.tif"])
    m.wait_jobs(4)
    assert of_images(m) == {first: "completed", second: "cancelled", third: "completed"}
    assert counts(whole)[0] == 3
    (m.path / "jobs" / second / "ctl").write_text("retry\n")
    whole_map(m, ["i000.tif", "i001.tif", "i002.tif"])


@pytest.mark.parametrize("moment", ["after-merge-manifest", "after-merge-job", "after-snapshot", "after-half-members",
                                    "after-half-merge", "before-patch", "after-patch", "before-manifest"])
def test_a_crash_while_an_event_is_submitted(grouped, tmp_path, moment):
    m = grouped("settle=0.2")
    m.unmount()
    m.start(ADAFS_CRASH_AT=moment)
    copy(m, 5)
    wait_for("adafs has died", lambda: not m.alive(), 30)
    # As on another machine: the services' addresses are all that is known. It goes image by image.
    if moment in ("after-merge-manifest", "after-half-members", "before-patch"):
        m.env.update({k: v for k, v in m.engine_settings().items() if k.startswith("AZURE_")})
        m.options = ["dir=" + str(tmp_path / "elsewhere"), "pool=local",
                     *[o for o in m.options if not o.startswith(("dir=", "grouping="))]]
    m.start()
    whole_map(m, [f"i{i:03}.tif" for i in range(5)])
    m.wait_jobs(6)
    assert set(m.jobs().values()) == {"completed"} and len(batch_jobs(m)) == 1
    assert os.listdir(m.path / "inbox/flood") == []


def test_an_event_whose_images_went_while_nobody_was_there(make_mount, emulator, tmp_path):
    pipeline = write_large(tmp_path / "large.json")
    m = make_mount(f"pipeline={pipeline}", "pool=local", "poll=0.2", "attr_timeout=1", "grouping=event", "settle=0.2",
                   env=emulator.settings).start(ADAFS_CRASH_AT="after-merge-manifest")
    copy(m, 2)
    wait_for("adafs has died", lambda: not m.alive(), 30)
    for i in range(2):
        Blobs(emulator).call("DELETE", f"ada/images/flood/i{i:03}.tif", x_ms_delete_snapshots="include").close()
    m.start()
    # What was written down comes to nothing, and keeps nobody waiting.
    copy(m, 1, 7)
    whole_map(m, ["i007.tif"])
    wait_for("all have ended", lambda: sorted(m.jobs().values()) == ["cancelled", "completed", "completed"], 20)


def test_four_hundred_images_and_nobody_there(make_mount, emulator, tmp_path):
    trap(emulator, job_quota=300)
    m = make_mount(f"pipeline={write_large(tmp_path / 'large.json')}", "pool=local", "poll=0.2", "attr_timeout=1",
                   "grouping=event", "settle=1", env=emulator.settings).start()
    copy(m, 400)
    (m.path / "inbox/flood/bad.tif").write_bytes(tiff(1, side=40))
    wait_for("all of it is in Batch",
             lambda: [j["onAllTasksComplete"] for j in batch_get(emulator.settings, "/jobs")] == ["terminatejob"], 60)
    m.kill()
    wait_for("Batch has ended it", lambda: {j["state"] for j in batch_get(emulator.settings, "/jobs")} == {"completed"}, 120)
    # Nobody has started adafs again: the container itself has the map.
    blobs = Blobs(emulator)
    maps = {n.rsplit("/", 1)[0] for n in blobs.names("merged/flood/large/", "ada")}
    newest = max(maps, key=lambda m: int(m.rsplit("/", 1)[1].split("-")[0]))
    assert sorted(blobs.get(f"ada/{newest}/report.txt").decode().split()) == [f"i{i:03}.tif" for i in range(400)]
    assert counts(json.loads(blobs.get(f"ada/{newest}/summary.json"))) == [401, 400, 0, 1, 0, 0]


def test_what_is_taken_back_while_its_event_is_on_its_way(make_mount, emulator, gate, tmp_path):
    """One image is cancelled before its tasks are in Batch, one deleted before its claim is written: the others go on."""
    opened = tmp_path / "open"
    pipeline = write_large(tmp_path / "large.json", before=f"while ! test -e {opened}; do sleep 0.05; done; ")
    storage = emulator.settings["AZURE_STORAGE_CONNECTION_STRING"].replace(gate.service, f"127.0.0.1:{gate.server_port}")
    env = emulator.settings | {"AZURE_STORAGE_CONNECTION_STRING": storage}
    m = make_mount(f"pipeline={pipeline}", "pool=local", "poll=0.2", "attr_timeout=1", "grouping=event", "settle=0.5",
                   env=env).start()
    gate.refused = ("PUT", "/jobs/flood-i003")
    copy(m, 4)
    wait_for("the last claim is refused", lambda: gate.n_refused > 1, 30)
    (event,) = [j for j in m.jobs() if "-merge-" in j]
    ids = {j.split("-")[1]: m.path / "jobs" / j for j in of_images(m)}
    assert m.jobs()[event] == "queued" and m.jobs()[ids["i003"].name] == "queued"
    (ids["i001"] / "ctl").write_text("cancel\n")
    (m.path / "inbox/flood/i003.tif").unlink()
    wait_for("it is cancelled", lambda: "cancel" in (ids["i003"] / "events").read_text(), 30)
    gate.refused = None
    wait_for("both are cancelled", lambda: [(ids[i] / "state").read_text() for i in ("i001", "i003")] == 2 * ["cancelled\n"], 30)
    opened.touch()
    summary = whole_map(m, ["i000.tif", "i002.tif"])
    assert {i: (ids[i] / "state").read_text().strip() for i in ids} == {
        "i000": "completed", "i001": "cancelled", "i002": "completed", "i003": "cancelled"}
    assert counts(summary)[:2] == [3, 2]
    assert m.wait_jobs(5)[event] == "completed"
    (ended,) = batch_get(emulator.settings, "/jobs")
    assert ended["executionInfo"]["terminateReason"] == "AllTasksComplete"
