"""Events of more images than their jobs can merge each: jobs of their own merge them, in a tree."""
import json

import pytest

from harness import batch_get, wait_for
from images import tiff

N = 70


def write_large(path, output="report.txt", before=""):
    path.write_text(json.dumps({
        "name": "large",
        "steps": [{"name": "tell", "command": before + "test $(wc -c < {image}) -lt 1000 || exit 7; basename {image} > report.txt",
                   "outputs": {"o": "report.txt"}, "result": True}],
        "merge": {"command": f"cat {{parts}}/*/report.txt > {output}", "outputs": {"all": output},
                  "when_empty": {"all": ""}}}))
    return path


@pytest.fixture
def large(make_mount, tmp_path):
    def make(**kw):
        pipeline = write_large(tmp_path / "large.json", **kw)
        return make_mount(f"pipeline={pipeline}", "poll=0.2", "attr_timeout=1").start()
    return make


def copy(m, n=N, first=0):
    inbox = m.path / "inbox/flood"
    inbox.mkdir(exist_ok=True)
    for i in range(first, first + n):
        (inbox / f"i{i:03}.tif").write_bytes(tiff(i))


def merges(m):
    return {j: s for j, s in m.jobs().items() if j.startswith("flood-merge-")}


def steps_of(m, job):
    return sorted(s.name for s in (m.path / "jobs" / job / "steps").iterdir())


def whole_map(m, names, output="report.txt"):
    shown = m.path / "results/flood" / output
    wait_for("the map is whole", lambda: shown.exists() and sorted(shown.read_text().split()) == sorted(names), 90)
    return json.loads((m.path / "results/flood/summary.json").read_text())


def test_a_tree_merges_more_than_64(large):
    m = large()
    copy(m)
    (m.path / "inbox/flood/bad.tif").write_bytes(tiff(1, side=40))
    # A merge of the first 64 may find all of them there; the tree comes after it.
    wait_for("a tree merges them", lambda: any("02-merge.completed" in steps_of(m, j) for j in merges(m)), 90)
    summary = whole_map(m, [f"i{i:03}.tif" for i in range(N)])
    m.wait_jobs(N + 2)
    assert [summary[k] for k in ("expected", "done", "empty", "failed", "skipped", "unassessed")] == [N + 1, N, 0, 1, 0, 0]
    assert summary["job"].startswith("flood-merge-") and len(summary["images"]) == N + 1
    text = (m.path / "results/flood/summary.txt").read_text()
    assert "failed: images/flood/bad.tif" in text and f"Images: {N + 1} expected, {N} done" in text
    (merge,) = [j for j, s in merges(m).items() if j == summary["job"]]
    assert steps_of(m, merge) == ["01-leaf-0.completed", "01-leaf-1.completed", "02-merge.completed"]
    # The last to come has no merge of its own.
    late = sorted(j for j in m.jobs() if j.startswith("flood-bad-"))[0]
    assert [s.name.split(".")[0] for s in (m.path / "jobs" / late / "steps").iterdir()] == ["01-tell"]
    # Nothing is merged twice: a further mount finds all as it is.
    before = m.jobs()
    m.unmount()
    m.start()
    wait_for("the jobs are known", lambda: m.jobs() == before, 20)
    # One more image, and an image again with other content: each is in the map once.
    (m.path / "inbox/flood/i000.tif").write_bytes(tiff(1000))
    copy(m, 1, N)
    summary = whole_map(m, [f"i{i:03}.tif" for i in range(N + 1)])
    assert [summary[k] for k in ("expected", "done", "failed", "unassessed")] == [N + 2, N + 1, 1, 0]


def test_a_merge_goes_on_on_machines_that_know_nothing(make_mount, emulator, tmp_path):
    """Each dies one step later, and the last one finds all that was done: no step runs twice, no job is there twice."""
    log = tmp_path / "log"
    pipeline = write_large(tmp_path / "large.json", before=f"echo $ADAFS_JOB >> {log}; ")

    def machine(k, **env):
        return make_mount(f"pipeline={pipeline}", "pool=local", "poll=0.2", "attr_timeout=1", name=f"m{k}",
                          env=emulator.settings).start(**env)
    m = machine(0, ADAFS_CRASH_AT="after-merge-manifest")
    (m.path / "inbox/flood2").mkdir()
    (m.path / "inbox/flood2/i000.tif").write_bytes(tiff(5000))
    copy(m)
    for k, moment in enumerate(["after-merge-job", "after-half-merge", ""], 1):
        wait_for("adafs has died", lambda: not m.alive(), 60)
        m = machine(k, ADAFS_CRASH_AT=moment)
    summary = whole_map(m, [f"i{i:03}.tif" for i in range(N)])
    jobs = m.wait_jobs(N + 2)
    assert summary["done"] == summary["expected"] == N
    # One merge may have been begun before the last jobs had ended.
    assert set(jobs.values()) == {"completed"} and len(jobs) == N + 1 + len(merges(m)) <= N + 3
    assert sorted(j["id"] for j in batch_get(emulator.settings, "/jobs")) == sorted(jobs)
    assert sorted(log.read_text().split()) == sorted(set(jobs) - set(merges(m)))
    assert (m.path / "results/flood2/report.txt").read_text() == "i000.tif\n"
    assert json.loads((m.path / "results/flood2/summary.json").read_text())["expected"] == 1


def test_a_merge_that_cannot_read_itself_stays_flat(large):
    m = large(output="all.txt")
    copy(m)
    summary = whole_map(m, [f"i{i:03}.tif" for i in range(N)], "all.txt")
    m.wait_jobs(N + 1)
    steps = [s.name for s in (m.path / "jobs" / summary["job"] / "steps").iterdir()]
    assert steps == ["01-merge.completed"] or summary["job"].startswith("flood-i")
