"""results/: the newest complete map and the parts, read-only."""
import errno
import json
import os
import subprocess

import pytest

from harness import wait_for
from images import tiff, write_pipeline


@pytest.fixture
def mounted(make_mount, tmp_path):
    return make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "attr_timeout=1").start()


def put(m, name, seed, side=16):
    path = m.path / "inbox" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tiff(seed, side))
    return len(tiff(seed, side))


def lines(path):
    try:
        return sorted(path.read_text().split())
    except FileNotFoundError:
        return None


def test_the_map_grows_with_every_image(mounted):
    assert os.listdir(mounted.path / "results") == []
    first = put(mounted, "flood/a.tif", 1)
    (job,) = mounted.wait_jobs(1)
    event = mounted.path / "results/flood"
    wait_for("the first map", lambda: lines(event / "all.txt") == [str(first)], 20)
    assert (event / job / "report.txt").read_text().strip() == str(first)
    assert "summary.json" in os.listdir(event)
    second = put(mounted, "flood/b.tif", 2, 32)
    mounted.wait_jobs(2)
    wait_for("both in the map", lambda: lines(event / "all.txt") == sorted([str(first), str(second)]), 20)
    json.loads((event / "summary.json").read_text())
    assert len([e for e in os.scandir(event) if e.is_dir()]) == 2
    assert not (event / "none.txt").exists() and not (mounted.path / "results/none").exists()


def test_the_map_follows_content_that_comes_back(mounted):
    """A, then B under the same name, then A again: the map is that of A, by a further run of A's job."""
    sizes = [put(mounted, "flood/a.tif", 1)]
    mounted.wait_jobs(1)
    sizes.append(put(mounted, "flood/a.tif", 2, 32))
    mounted.wait_jobs(2)
    path = mounted.path / "results/flood/all.txt"
    wait_for("the map of B", lambda: lines(path) == [str(sizes[1])], 20)
    put(mounted, "flood/a.tif", 1)
    wait_for("the map of A", lambda: lines(path) == [str(sizes[0])], 20)
    jobs = mounted.wait_jobs(2)
    assert len(jobs) == 2
    run = json.loads((mounted.path / "results/flood/summary.json").read_text())["run"]
    put(mounted, "flood/a.tif", 1)
    put(mounted, "flood/last.tif", 3)
    mounted.wait_jobs(3)
    (job,) = [j for j in jobs if (mounted.path / "jobs" / j / "events").read_text().count("submitted as") > 1]
    events = (mounted.path / "jobs" / job / "events").read_text()
    assert run == 2 and events.count("submitted as") == 2, "the same content again runs nothing"


def test_an_open_map_is_read_to_its_end(mounted):
    first = put(mounted, "flood/a.tif", 1)
    mounted.wait_jobs(1)
    path = mounted.path / "results/flood/all.txt"
    wait_for("the first map", lambda: lines(path) == [str(first)], 20)
    with open(path, "rb", buffering=0) as f:
        second = put(mounted, "flood/b.tif", 2, 32)
        mounted.wait_jobs(2)
        wait_for("the second map", lambda: lines(path) == sorted([str(first), str(second)]), 20)
        assert f.read().decode().split() == [str(first)]


def test_results_are_read_only_and_true(mounted, tmp_path):
    put(mounted, "flood/a.tif", 1)
    (job,) = mounted.wait_jobs(1)
    event = mounted.path / "results/flood"
    wait_for("the map", lambda: lines(event / "all.txt"), 20)
    for change in (lambda: open(event / "all.txt", "w"), lambda: os.unlink(event / "all.txt"),
                   lambda: os.mkdir(event / "x"), lambda: open(event / "x", "w"),
                   lambda: os.rename(event / job, event / "x"), lambda: os.rmdir(event),
                   lambda: os.truncate(event / "all.txt", 0)):
        with pytest.raises(OSError) as e:
            change()
        assert e.value.errno == errno.EROFS
    for path in event.rglob("*"):
        if path.is_file():
            assert path.stat().st_size == len(path.read_bytes()), path
    subprocess.run(["cp", "-a", str(event), str(tmp_path / "copy")], check=True, timeout=30)
    assert (tmp_path / "copy" / job / "report.txt").exists()


def test_events_stay_apart_and_a_new_mount_shows_all(mounted):
    a, b = put(mounted, "one/a.tif", 1), put(mounted, "two/b.tif", 2, 32)
    jobs = mounted.wait_jobs(2)
    for event, size in (("one", a), ("two", b)):
        wait_for(f"the map of {event}", lambda: lines(mounted.path / "results" / event / "all.txt") == [str(size)], 20)
    mounted.unmount()
    mounted.start()
    wait_for("the jobs are known again", lambda: mounted.jobs() == jobs, 20)
    assert sorted(os.listdir(mounted.path / "results")) == ["one", "two"]
    for job in jobs:
        look = mounted.path / "jobs" / job / "steps/look"
        wait_for("the steps are known again", lambda: look.exists() and (look / "exit_code").read_text() == "0\n", 20)
