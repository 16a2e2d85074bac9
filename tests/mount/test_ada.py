"""The pipeline of the first users, whole, with commands that stand in for its programs."""
import json
import math
import os
import shutil
from pathlib import Path

import pytest

from harness import wait_for
from test_events import geotiff, put

HERE = Path(__file__).parent / "ada"
SHIPPED = HERE.parent.parent.parent / "batch/pipelines/ada.json"
COMMANDS = ["create-index", "setup-wd", "abd", "filter-buildings", "align-raster", "prepare-data", "python",
            "final-layer", "merge-output"]
SIDE = 360 / 2 ** 13
X, Y = 4823, 4000
# Which cells do what; the images lie in a row of them.
FINE, EMPTY, UNALIGNED, FAILING = (f"13.{X + k}.{Y}" for k in range(4))


def in_cell(k: int, seed: int) -> bytes:
    """A small image inside the cell X + k of the row."""
    lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * (Y + 0.6) / 2 ** 13))))
    return geotiff(seed, west=(X + k + 0.4) * SIDE - 180, south=lat, degrees=0.2 * SIDE)


@pytest.fixture
def ada(make_mount, tmp_path):
    """A mount whose tasks find the stand-ins where the real ones activate their environments."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    shutil.copy(HERE / "standin.py", bin_dir / "standin.py")
    (bin_dir / "standin.py").chmod(0o755)
    for name in COMMANDS:
        (bin_dir / name).symlink_to("standin.py")
    (bin_dir / "behaviour.json").write_text(json.dumps(
        {"empty": [EMPTY], "unaligned": [UNALIGNED], "predict": [FAILING]}))
    pipeline = json.loads(SHIPPED.read_text())
    for name in pipeline["environments"]:
        pipeline["environments"][name] = f"export PATH={bin_dir}:$PATH"
    (tmp_path / "ada.json").write_text(json.dumps(pipeline))
    m = make_mount(f"pipeline={tmp_path}/ada.json", "poll=0.2", "settle=1", "attr_timeout=1")
    m.start()
    assets = m.path / "containers/ada/assets"
    for name in ("config.toml", "neat-fullxview-epoch75.pth", "caladrius_att_effnet4_v1.pkl"):
        assets.mkdir(exist_ok=True)
        (assets / name).write_text(name)
    m.bin_dir = bin_dir
    return m


def test_the_shipped_pipeline_is_the_one_of_the_first_users():
    shared = os.environ.get("ADAFS_SHARED")
    if not shared:
        pytest.skip("the shared pipeline is not there (ADAFS_SHARED)")
    assert json.loads(SHIPPED.read_text()) == json.loads((Path(shared) / "ada.json").read_text())


def by_cell(m):
    found = {}
    for job in (m.path / "jobs").iterdir():
        found[job.name.split("-")[1].replace("_", ".")] = job
    return found


def steps_of(job):
    return dict(p.name.split(".") for p in (job / "steps").iterdir())


def mapped(m):
    data = json.loads((m.path / "results/flood/buildings-predictions.geojson").read_text())
    return sorted(f["properties"]["cell"] for f in data["features"])


def test_an_event_of_four_cells(ada):
    m = ada
    for k in range(4):
        put(m, f"flood/pre-event/pre{k}.tif", in_cell(k, k))
        put(m, f"flood/post-event/post{k}.tif", in_cell(k, 10 + k))
    put(m, "flood/post-event/elsewhere.tif", in_cell(20, 30))
    jobs = m.wait_jobs(4, 200)
    cells = by_cell(m)
    assert {c: jobs[j.name] for c, j in cells.items()} == \
        {FINE: "completed", EMPTY: "empty", UNALIGNED: "completed", FAILING: "failed"}

    fine = steps_of(cells[FINE])
    assert len(fine) == 16 and set(fine.values()) == {"completed"}, fine
    depends = (cells[FINE] / "steps/align/depends_on").read_text().split()
    assert [d.split("-", 1)[1] for d in sorted(depends)] == ["setup", "filter-pre", "filter-post"], depends
    # Nothing of one branch waits for the other.
    for branch, other in (("pre", "post"), ("post", "pre")):
        for step in ("cover", "tile", "predict", "vectorize", "filter"):
            on = (cells[FINE] / f"steps/{step}-{branch}/depends_on").read_text().split()
            assert not [d for d in on if d.endswith(f"-{other}")], (step, branch, on)

    empty = steps_of(cells[EMPTY])
    assert [s for s in empty.values()].count("skipped") == 2, empty
    failed = {k.split("-", 1)[1]: v for k, v in steps_of(cells[FAILING]).items()}
    assert (failed["predict-pre"], failed["predict-post"]) == ("failed", "failed")
    assert {failed[s] for s in ("vectorize-pre", "filter-post", "align", "prepare", "classify", "final")} == {"skipped"}
    assert {failed[s] for s in ("setup", "cover-pre", "tile-post", "merge")} == {"completed"}

    wait_for("the map holds the cells that ended well", lambda: mapped(m) == [FINE, UNALIGNED])
    summary = json.loads((m.path / "results/flood/summary.json").read_text())
    assert [summary[k] for k in ("expected", "done", "empty", "failed", "unassessed")] == [4, 2, 1, 1, 0]
    result = m.path / "results/flood" / cells[FINE].name
    assert "buildings-predictions.geojson" in os.listdir(result)

    (m.bin_dir / "mended").touch()
    (cells[FAILING] / "ctl").write_text("retry\n")
    wait_for("the map is complete", lambda: mapped(m) == [FINE, UNALIGNED, FAILING], 60)
    wait_for("every step has ended well", lambda: set(steps_of(cells[FAILING]).values()) == {"completed"}, 20)
    # What had ended well was not run again.
    assert not (m.path / f"containers/ada/work/{cells[FAILING].name}/03-tile-pre/2").exists()
