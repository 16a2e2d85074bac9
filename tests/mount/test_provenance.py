"""manifest.json beside each result: what it was made from and by."""
import hashlib
import json
import time

from harness import batch_get, wait_for
from images import gate, tiff, write_pipeline

EVENT, NAME = 'fl"öd', """sc"è $(x)'1.tif"""


def write(path):
    """A chain, a step aside that nothing reads, and one that only comes before."""
    fail = f"! test -e {path.parent}/fail"
    steps = [{"name": "warm", "command": "true", "outputs": {"o": {"path": "none.txt", "optional": True}}},
             {"name": "look", "command": "wc -c < {image} > look.txt", "outputs": {"o": "look.txt"}},
             {"name": "aside", "command": "cat {look.o} > aside.txt", "outputs": {"o": "aside.txt"}},
             {"name": "half", "command": "cat {look.o} > half.txt", "outputs": {"o": "half.txt"}},
             {"name": "tell", "command": fail + " || exit 7; echo \"\t'\u00fc'\" {half.o}; cat {look.o} > report.txt",
              "after": ["warm"], "outputs": {"report": "report.txt"}, "result": True}]
    merge = {"command": "ls {parts}/* > all.txt", "outputs": {"all": "all.txt"}, "when_empty": {"all": ""}}
    path.write_text(json.dumps({"name": "tiny", "steps": steps, "merge": merge}, indent=1))
    return path


def stamp(text):
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def test_a_manifest_stands_beside_each_result(make_mount, tmp_path):
    pipeline = write(tmp_path / "tiny.json")
    (tmp_path / "fail").touch()
    m = make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox" / EVENT).mkdir()
    image = m.path / "inbox" / EVENT / NAME
    image.write_bytes(tiff(1))
    assert set(m.wait_jobs(1).values()) == {"failed"}
    (job,) = (m.path / "jobs").iterdir()
    where = m.path / "results" / EVENT / job.name / "manifest.json"
    told = json.loads(where.read_text())
    assert told["result"] == "failed" and told["run"] == 1
    before = {s["name"]: s for s in told["steps"]}
    time.sleep(1.1)  # times are whole seconds
    (tmp_path / "fail").unlink()
    (job / "ctl").write_text("retry\n")
    wait_for("the job is done", lambda: (job / "state").read_text() == "completed\n")
    told = wait_for("its manifest", lambda: (t := json.loads(where.read_text()))["result"] == "completed" and t, 30)

    data = tiff(1)
    (shown,) = told["images"]
    assert (shown["name"], shown["role"], shown["size"]) == (NAME, "image", len(data))
    assert shown["sha256"] == hashlib.sha256(data).hexdigest()
    assert shown["blob"] == f"images/{EVENT}/{NAME}" and shown["snapshot"] and shown["etag"] and shown["date"] is None
    assert told["event"] == EVENT and told["job"] == job.name and told["run"] == 2
    text = pipeline.read_text()
    assert told["pipeline"] == {"name": "tiny", "digest": hashlib.sha256(text.encode()).hexdigest(), "text": text}
    assert told["container"] is None and told["adafs"]
    wrapper = m.path / "containers/ada/assets/.adafs" / told["wrapper"] / "wrapper.sh"
    assert hashlib.sha256(wrapper.read_bytes()).hexdigest() == told["wrapper"]
    assert told["files"] == [{"path": "report.txt", "files": 1, "bytes": 4}]

    steps = {s["name"]: s for s in told["steps"]}
    assert list(steps) == ["warm", "look", "aside", "half", "tell"]
    for name in ("warm", "look", "half"):  # of the run before, as they were
        assert steps[name]["reused"] is True
        assert {k: v for k, v in steps[name].items() if k != "reused"} == \
            {k: v for k, v in before[name].items() if k != "reused"}
    for name in ("warm", "look", "half", "tell"):
        step = steps[name]
        assert (step["result"], step["exit_code"], step["attempts"]) == ("completed", 0, 1)
        assert stamp(step["started"]) <= stamp(step["finished"]) and len(step["key"]) == 32
        assert step["task"].split("-", 1)[1] == name and step["node"]
        assert step["run"] == (2 if name == "tell" else 1)
        assert step["node"] == (job / "steps" / name / "node").read_text().strip()
    assert steps["aside"]["result"] is None  # it made nothing of this
    assert "manifest" not in (m.path / "results" / EVENT / "all.txt").read_text()


def test_a_manifest_needs_no_client(make_mount, tmp_path):
    go = tmp_path / "go"
    pipeline = write_pipeline(tmp_path / "tiny.json", gate(go))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1").start()
    (m.path / "inbox/flood").mkdir()
    (m.path / "inbox/flood/.a.tif.x1").write_bytes(tiff(2))  # as rsync does
    (m.path / "inbox/flood/.a.tif.x1").rename(m.path / "inbox/flood/a.tif")
    wait_for("it is submitted", lambda: any("submitted" in (j / "events").read_text() for j in (m.path / "jobs").iterdir()))
    m.kill()
    go.touch()
    wait_for("the job ends", lambda: [j["state"] for j in batch_get(m.engine_settings(), "/jobs")] == ["completed"])
    m.start()
    (part,) = (m.path / "containers/ada/parts/flood/tiny").iterdir()
    told = json.loads((part / "manifest.json").read_text())
    assert told["result"] == "completed" and told["images"][0]["size"] == len(tiff(2))
