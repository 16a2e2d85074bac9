"""Pipelines that go by units: a job for each cell of a grid, or one for the event."""
import errno
import json
import math
import os
import time

import pytest

from harness import wait_for
from images import tiff
from test_events import MERGE, geotiff, images_of, put, waiting

ZOOM = 8
SIDE = 360 / 2 ** ZOOM


def small_image(seed: int, x: float, y: int) -> bytes:
    """A fifth of a cell wide, in the middle of row y, from x eastward."""
    lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * (y + 0.6) / 2 ** ZOOM))))
    return geotiff(seed, west=x * SIDE - 180, south=lat, degrees=0.2 * SIDE)


def cell_image(seed: int, x: int, y: int) -> bytes:
    return small_image(seed, x + 0.4, y)


def border_image(seed: int, x: int, y: int) -> bytes:
    """In the cell (x, y) and its eastern neighbour."""
    return small_image(seed, x + 0.9, y)


def write_grid(path, command="echo {unit} $(ls {pre} | wc -l) $(ls {post} | wc -l) > report.txt", unit=True):
    pipeline = {
        "name": "grid", "inputs": {"pre": {"match": "pre/*", "many": True}, "post": {"match": "post/*", "many": True}},
        "steps": [{"name": "tell", "command": command, "outputs": {"o": "report.txt"}, "result": True}],
        "merge": MERGE}
    if unit:
        pipeline["unit"] = {"grid_zoom": ZOOM}
    path.write_text(json.dumps(pipeline))
    return path


@pytest.fixture
def grid(make_mount, tmp_path):
    def make(settle="0.5", **kw):
        pipeline = write_grid(tmp_path / "grid.json", **kw)
        return make_mount(f"pipeline={pipeline}", "poll=0.1", f"settle={settle}", "attr_timeout=1").start()
    return make


def states(m):
    found = {}
    for job in (m.path / "jobs").iterdir():
        try:
            found[job.name] = (job / "state").read_text().strip()
        except FileNotFoundError:
            pass
    return found


def ended(m, n):
    def done():
        found = states(m)
        return found if len(found) == n and not set(found.values()) & {"queued", "running"} else None
    return wait_for(f"{n} jobs have ended", done, 30)


def map_lines(m):
    return sorted((m.path / "results/flood/all.txt").read_text().splitlines())


def test_a_job_for_each_cell_that_all_roles_cover(grid):
    m = grid()
    put(m, "flood/pre/a.tif", border_image(1, 10, 100))
    put(m, "flood/pre/lonely.tif", cell_image(2, 40, 100))
    put(m, "flood/post/b.tif", cell_image(3, 11, 100))
    put(m, "flood/post/c.tif", border_image(4, 11, 100))
    assert "waits for the rest of its event" in waiting(m.path / "inbox/flood/pre/a.tif")
    (job, state), = ended(m, 1).items()
    assert state == "completed" and job.startswith("flood-8_11_100-")
    assert images_of(m.path / "jobs" / job) == ["post/b.tif", "post/c.tif", "pre/a.tif"]
    assert {p.name for p in (m.path / "jobs" / job / "image").iterdir()} == {"pre", "post-1", "post-2"}
    wait_for("the map", lambda: map_lines(m) == ["8.11.100 1 2"])
    assert waiting(m.path / "inbox/flood/pre/lonely.tif") == \
        "waiting for images of post (inbox/flood/post/*) in a cell of grid_zoom 8 that lonely.tif touches"
    wait_for("what is done has left", lambda: os.listdir(m.path / "inbox/flood/post") == [])
    assert os.listdir(m.path / "inbox/flood/pre") == ["lonely.tif"]


def test_an_image_in_two_cells(grid, tmp_path):
    m = grid(command=f"case {{unit}} in 8.11.100) [ -e {tmp_path}/mended ] || exit 3;; esac; "
                     "echo {unit} > report.txt")
    put(m, "flood/pre/a.tif", border_image(1, 10, 100))
    put(m, "flood/post/b.tif", border_image(2, 10, 100))
    jobs = ended(m, 2)
    assert sorted((j.split("-")[1], s) for j, s in jobs.items()) == [("8_10_100", "completed"), ("8_11_100", "failed")]
    image = m.path / "inbox/flood/pre/a.tif"
    assert os.getxattr(image, "user.adafs.state") == b"failed"
    assert set(os.getxattr(image, "user.adafs.job").decode().split("\n")) == set(jobs)
    (failed,) = [j for j, s in jobs.items() if s == "failed"]
    (tmp_path / "mended").touch()
    (m.path / "jobs" / failed / "ctl").write_text("retry\n")
    wait_for("both cells are in the map", lambda: map_lines(m) == ["8.10.100", "8.11.100"])
    wait_for("the image has left", lambda: os.listdir(m.path / "inbox/flood/pre") == [])


def test_what_comes_later_replaces_the_part_of_its_cell(grid):
    m = grid()
    put(m, "flood/pre/a.tif", cell_image(1, 10, 100))
    put(m, "flood/post/b.tif", cell_image(2, 10, 100))
    (first,) = ended(m, 1)
    put(m, "flood/post/c.tif", cell_image(3, 10, 100))
    jobs = ended(m, 2)
    assert set(jobs.values()) == {"completed"}
    wait_for("the map has the cell once", lambda: map_lines(m) == ["8.10.100 1 2"])
    with pytest.raises(OSError) as e:
        (m.path / "jobs" / first / "ctl").write_text("retry tell\n")
    assert e.value.errno == errno.ESTALE
    # The cell has the images again that it had at first: its first job runs once more.
    os.unlink(m.path / "containers/ada/images/flood/post/c.tif")
    wait_for("the map is as it was", lambda: states(m) and map_lines(m) == ["8.10.100 1 1"], 30)
    events = (m.path / "jobs" / first / "events").read_text()
    assert "run 2" in events and len(ended(m, 2)) == 2


def test_a_kill_while_the_event_is_copied(grid):
    m = grid(settle="3")
    put(m, "flood/pre/a.tif", cell_image(1, 10, 100))
    put(m, "flood/post/b.tif", cell_image(2, 10, 100))
    m.kill()
    m.start()
    assert states(m) == {}
    put(m, "flood/post/c.tif", cell_image(3, 10, 100))
    ended(m, 1)
    wait_for("the map", lambda: map_lines(m) == ["8.10.100 1 2"])


def test_no_unit_is_told_while_a_file_is_written(grid):
    m = grid(settle="0.3")
    put(m, "flood/pre/a.tif", cell_image(1, 10, 100))
    put(m, "flood/post/b.tif", cell_image(2, 10, 100))
    data = cell_image(3, 10, 100)
    with open(m.path / "inbox/flood/post/c.tif", "wb") as f:
        f.write(data[:100])
        f.flush()
        for _ in range(4):
            time.sleep(0.3)
            assert states(m) == {}
        f.write(data[100:])
    ended(m, 1)
    wait_for("the map", lambda: map_lines(m) == ["8.10.100 1 2"])


def test_the_event_as_one(grid):
    m = grid(unit=False, command="echo {pre} $(ls {pre} | wc -l) $(ls {post} | wc -l) > report.txt")
    for name in ("pre/a.tif", "pre/b.tif", "post/c.tif"):
        put(m, f"flood/{name}", geotiff(len(name), west=7 * len(name)))
    (job,) = ended(m, 1)
    assert job.startswith("flood-all-")
    wait_for("the map", lambda: map_lines(m)[0].endswith(" 2 1"))


def test_what_cannot_be_in_a_grid_is_refused(grid):
    m = grid()
    for name, data, reason in (("nowhere.tif", tiff(1), "it cannot be told where the image lies"),
                               ("world.tif", geotiff(1, west=-80, south=-70, degrees=140),
                                "cells of grid_zoom 8, and pipeline 'grid' takes at most 4096 of one image")):
        with pytest.raises(OSError) as e:
            put(m, f"flood/pre/{name}", data)
        assert e.value.errno == errno.EBADMSG
        told = m.path / f"rejected/flood/pre/{name}.reason"
        wait_for("the reason", told.exists)
        assert reason in told.read_text()


def test_two_mounts_tell_the_same_units(emulator, make_mount, tmp_path):
    pipeline = write_grid(tmp_path / "grid.json")
    a, b = (make_mount(f"pipeline={pipeline}", "poll=0.1", "settle=0.5", "attr_timeout=1", "pool=local", name=name,
                       env=emulator.settings).start() for name in "ab")
    put(a, "flood/pre/a.tif", border_image(1, 10, 100))
    put(b, "flood/post/b.tif", border_image(2, 10, 100))
    for m in (a, b):
        wait_for("both cells", lambda m=m: len(states(m)) == 2 and set(states(m).values()) == {"completed"}, 60)
    assert states(a) == states(b)
    wait_for("the map", lambda: map_lines(a) == ["8.10.100 1 1", "8.11.100 1 1"])
    put(b, "flood/post/c.tif", cell_image(3, 11, 100))
    wait_for("the map with the third", lambda: map_lines(a) == ["8.10.100 1 1", "8.11.100 1 2"], 60)
    wait_for("both know the three jobs", lambda: states(a) == states(b) and len(states(a)) == 3, 60)


def test_an_unmount_does_not_wait_for_more(grid):
    m = grid(settle="60")
    put(m, "flood/pre/a.tif", cell_image(1, 10, 100))
    put(m, "flood/post/b.tif", cell_image(2, 10, 100))
    m.unmount()
    assert len(list((m.state / "batch").rglob("flood-8_10_100-*"))) or "submitted" in m.log.read_text()
    m.start()
    ended(m, 1)
