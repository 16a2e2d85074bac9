"""The day that adafs is for: an event of thirteen pairs of scenes, some of which go wrong, copied in one go."""
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
EMPTY, CORRUPT, FAILING = "s04", "s07", "s09"
GOOD = [f"s{k:02}" for k in range(13) if f"s{k:02}" not in (EMPTY, CORRUPT, FAILING)]


def make_scene(folder, name, seed, buildings):
    subprocess.run([ROOT / "scripts/make-scene", "--seed", str(seed), "--buildings", str(buildings), "--out", folder,
                    "--name", name], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """flood/ with 13 pairs, and flood2/ with one of an older event."""
    folder = tmp_path_factory.mktemp("scenes")
    wanted = [("flood", f"s{k:02}", 100 + k, 0 if f"s{k:02}" == EMPTY else 5) for k in range(13)] + [("flood2", "old", 7, 5)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda w: make_scene(folder / w[0], *w[1:]), wanted))
    for event in ("flood", "flood2"):
        shutil.rmtree(folder / event / "truth")
    broken = folder / "flood/post-event" / f"{CORRUPT}.tif"
    broken.write_bytes(broken.read_bytes()[:-2000])
    return folder


def write_damage(path, mended):
    """The pipeline that ships, but for a step that fails for one scene until somebody mends it."""
    pipeline = json.loads((ROOT / "batch/pipelines/damage.json").read_text())
    pipeline["scripts"]["tools"] = f"{ROOT}/scripts/quicklook/"
    pipeline["defaults"]["retries"] = 0
    (predict,) = [s for s in pipeline["steps"] if s["name"] == "predict"]
    predict["command"] = f"case {{pre}} in *{FAILING}*) [ -e {mended} ] || exit 9;; esac; " + predict["command"]
    path.write_text(json.dumps(pipeline))
    return path


def layer(path):
    return json.loads(path.read_text())["features"]


def names_of(m):
    """The scene of each job."""
    return {job.name: (job / "image/pre").readlink().stem for job in (m.path / "jobs").iterdir()
            if (job / "image/pre").is_symlink()}


def map_of(m, jobs):
    """The map's features by scene, once they are those of these jobs."""
    def probe():
        try:
            features = layer(m.path / "results/flood/buildings.geojson")
        except FileNotFoundError:
            return None
        return features if {f["properties"]["job"] for f in features} == set(jobs) else None
    return wait_for("the map of " + " ".join(sorted(jobs)), probe, 60)


def shape(feature):
    return json.dumps(feature["geometry"])


def test_an_event_of_thirteen_pairs(make_mount, tmp_path, scenes):
    pipeline = write_damage(tmp_path / "damage.json", tmp_path / "mended")
    m = make_mount(f"pipeline={pipeline}", "poll=0.2", "attr_timeout=1").start()
    inbox = m.path / "inbox"
    subprocess.run(["cp", "-r", scenes / "flood2", inbox], check=True, timeout=60)
    m.wait_jobs(1)
    older = wait_for("the older event's map", lambda: os.path.exists(m.path / "results/flood2/buildings.geojson") and
                     (m.path / "results/flood2/buildings.geojson").read_bytes())
    (old_job,) = m.jobs()

    copied = subprocess.run(["cp", "-r", scenes / "flood", inbox], capture_output=True, text=True, timeout=120)
    assert copied.returncode == 1 and f"{CORRUPT}.tif" in copied.stderr and copied.stderr.count("\n") == 1, copied.stderr
    refused = m.path / f"rejected/flood/post-event/{CORRUPT}.tif.reason"
    wait_for("the reason", refused.exists)
    assert "past the end of the file" in refused.read_text(), refused.read_text()

    jobs = m.wait_jobs(13, 400)
    scene = {job: name for job, name in names_of(m).items() if job != old_job}
    by_scene = {name: jobs[job] for job, name in scene.items()}
    assert by_scene == {**{name: "completed" for name in GOOD}, EMPTY: "empty", FAILING: "failed"}
    half = inbox / f"flood/pre-event/{CORRUPT}.tif"
    assert os.getxattr(half, "user.adafs.waiting_for").decode() == \
        f"waiting for the post partner of {CORRUPT}.tif: copy it to inbox/flood/post-event/{CORRUPT}.tif"
    (failed,) = [job for job, name in scene.items() if name == FAILING]
    steps = dict(p.name.split("-", 1)[1].split(".") for p in (m.path / "jobs" / failed / "steps").iterdir())
    assert steps == {"cover": "completed", "tile": "completed", "predict": "failed", "vectorize": "skipped",
                     "filter": "skipped", "align": "completed", "classify": "skipped", "final": "skipped",
                     "merge": "completed"}

    good = [job for job, name in scene.items() if name in GOOD]
    found = map_of(m, good)
    parts = [f for job in good for f in layer(m.path / "results/flood" / job / "buildings.geojson")]
    assert sorted(map(shape, found)) == sorted(map(shape, parts))
    summary = json.loads((m.path / "results/flood/summary.json").read_text())
    assert [summary[k] for k in ("expected", "done", "empty", "failed", "skipped", "unassessed")] == [12, 10, 1, 1, 0, 0]
    told = (m.path / "results/flood/summary.txt").read_text()
    assert f"failed: images/flood/pre-event/{FAILING}.tif, images/flood/post-event/{FAILING}.tif" in told
    assert f"empty: images/flood/pre-event/{EMPTY}.tif" in told

    (tmp_path / "mended").touch()
    (m.path / "jobs" / failed / "ctl").write_text("retry\n")
    whole = map_of(m, [*good, failed])
    part = layer(m.path / "results/flood" / failed / "buildings.geojson")
    assert sorted(map(shape, whole)) == sorted(map(shape, parts + part)) and len(part) >= 4
    wait_for("it has ended well", lambda: m.jobs()[failed] == "completed", 20)
    work = m.path / "containers/ada/work" / failed
    runs = {step.name.split("-", 1)[1]: sorted(os.listdir(step)) for step in work.iterdir()}
    assert {name for name, n in runs.items() if "2" in n} == {"predict", "vectorize", "filter", "classify", "final", "merge"}
    summary = json.loads((m.path / "results/flood/summary.json").read_text())
    assert [summary[k] for k in ("expected", "done", "empty", "failed")] == [12, 11, 1, 0]

    assert (m.path / "results/flood2/buildings.geojson").read_bytes() == older
    # And the refused one, whole this time: the half that waits has its partner.
    make_scene(tmp_path / "again", CORRUPT, 107, 5)
    (inbox / f"flood/post-event/{CORRUPT}.tif").write_bytes((tmp_path / f"again/post-event/{CORRUPT}.tif").read_bytes())
    jobs = m.wait_jobs(14)
    assert jobs[[job for job, name in names_of(m).items() if name == CORRUPT][0]] == "completed"
