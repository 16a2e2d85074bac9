"""Events with several roles: who belongs to whom, and what an image without its partner waits for."""
import errno
import json
import os
import shutil
import stat
import struct
import subprocess
import time

import pytest

from harness import wait_for
from images import tiff

MERGE = {"command": "cat {parts}/*/report.txt > all.txt", "outputs": {"all": "all.txt"}, "when_empty": {"all": ""}}


def geotiff(seed: int, west: float, south: float = 0.0, degrees: float = 1.0, bands: int = 1, epsg: int = 4326,
            side: int = 16) -> bytes:
    """A whole GeoTIFF, `degrees` wide and high, whose pixels depend on the seed."""
    pixels = tiff(seed, side)[8:8 + side * side] * bands
    scale = struct.pack("<3d", degrees / side, degrees / side, 0)
    tie = struct.pack("<6d", 0, 0, 0, west, south + degrees, 0)
    keys = struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, epsg)
    bits = struct.pack(f"<{bands}H", *[8] * bands)
    body, at = b"", 8
    offset = {}
    for name, data in (("pixels", pixels), ("scale", scale), ("tie", tie), ("keys", keys), ("bits", bits)):
        offset[name] = at + len(body)
        body += data + b"\0" * (len(data) % 2)
    tags = [(256, 3, 1, side), (257, 3, 1, side), (258, 3, bands, 8 if bands == 1 else offset["bits"]), (259, 3, 1, 1),
            (262, 3, 1, 2 if bands == 3 else 1), (273, 4, 1, offset["pixels"]), (277, 3, 1, bands), (278, 3, 1, side),
            (279, 4, 1, len(pixels)), (33550, 12, 3, offset["scale"]), (33922, 12, 6, offset["tie"]),
            (34735, 3, 16, offset["keys"])]
    directory = struct.pack("<H", len(tags))
    for tag, kind, count, value in tags:
        directory += struct.pack("<HHI", tag, kind, count)
        directory += struct.pack("<HH", value, 0) if kind == 3 and count == 1 else struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + struct.pack("<I", 0)


def write_pairs(path, **demands):
    pre = {"match": "pre/*", **demands}
    path.write_text(json.dumps({
        "name": "pairs", "inputs": {"pre": pre, "post": {"match": "post/*", **demands}},
        "steps": [{"name": "tell", "command": "cat {pre} {post} | wc -c > report.txt",
                   "outputs": {"o": "report.txt"}, "result": True}], "merge": MERGE}))
    return path


@pytest.fixture
def m(make_mount, tmp_path):
    return make_mount(f"pipeline={write_pairs(tmp_path / 'pairs.json')}", "poll=0.1").start()


def put(m, name, data):
    file = m.path / "inbox" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def waiting(path) -> str:
    try:
        return os.getxattr(path, "user.adafs.waiting_for").decode()
    except OSError as e:
        assert e.errno in (errno.ENODATA, errno.ENOENT), e
        return ""


def images_of(job):
    return sorted("/".join(link.readlink().parts[-2:]) for link in (job / "image").iterdir())


def pairs(m):
    return sorted(images_of(job) for job in (m.path / "jobs").iterdir())


def test_partners_are_found_by_where_they_lie(m):
    for k in range(3):
        put(m, f"flood/pre/a{k}.tif", geotiff(k, west=k))
    for k in range(3):  # numbered the other way round
        put(m, f"flood/post/a{2 - k}.tif", geotiff(10 + k, west=k))
    assert set(m.wait_jobs(3).values()) == {"completed"}
    assert pairs(m) == [["post/a0.tif", "pre/a2.tif"], ["post/a1.tif", "pre/a1.tif"], ["post/a2.tif", "pre/a0.tif"]]
    job = next((m.path / "jobs").iterdir())
    assert "overlap by 100 %" in (job / "events").read_text()
    manifest = json.loads((m.path / "containers/ada/jobs" / (job.name + ".json")).read_text())
    assert "overlap by 100 %" in manifest["pairing"]


def test_partners_without_a_place_are_found_by_name(m):
    for k in range(2):
        put(m, f"flood/post/{k}.tif", tiff(k))
        put(m, f"flood/pre/{k}.tif", tiff(10 + k))
    assert set(m.wait_jobs(2).values()) == {"completed"}
    assert pairs(m) == [["post/0.tif", "pre/0.tif"], ["post/1.tif", "pre/1.tif"]]
    assert "have the same name" in (next((m.path / "jobs").iterdir()) / "events").read_text()


def test_an_image_without_its_partner_says_so(m):
    post = put(m, "flood/post/x.tif", geotiff(1, 0))
    wait_for("it says what it waits for", lambda: "waiting for the pre partner of x.tif" in waiting(post))
    assert "copy it to inbox/flood/pre/x.tif" in waiting(post)
    assert waiting(m.path / "inbox/flood") == "post/x.tif: " + waiting(post) + "\n"
    assert os.getxattr(post, "user.adafs.state") == b"waiting"
    pre = put(m, "flood/pre/x.tif", geotiff(2, 5))
    wait_for("it names both", lambda: "by 0 %" in waiting(post) and "by 0 %" in waiting(pre))
    assert list((m.path / "jobs").iterdir()) == []
    put(m, "flood/pre/x.tif", geotiff(2, 0))
    assert set(m.wait_jobs(1).values()) == {"completed"}
    assert waiting(m.path / "inbox/flood") == ""


def test_little_in_common_waits_until_the_event_is_quiet(m):
    put(m, "flood/pre/a.tif", geotiff(1, 0))
    weak = put(m, "flood/post/b.tif", geotiff(2, 0.8))
    wait_for("it says why", lambda: "overlap by 20 %" in waiting(weak))
    better = put(m, "flood/post/c.tif", geotiff(3, 0.1))
    assert set(m.wait_jobs(1).values()) == {"completed"}
    assert pairs(m) == [["post/c.tif", "pre/a.tif"]]
    wait_for("the other waits", lambda: "partner of b.tif" in waiting(weak))
    assert not better.exists()
    put(m, "flood/pre/d.tif", geotiff(4, 1.5))
    m.wait_jobs(2, 60)
    assert pairs(m) == [["post/b.tif", "pre/d.tif"], ["post/c.tif", "pre/a.tif"]]


def test_replacing_one_half_makes_a_new_job_of_both(m):
    put(m, "flood/pre/a.tif", geotiff(1, 0))
    put(m, "flood/post/a.tif", geotiff(2, 0))
    m.wait_jobs(1)
    put(m, "flood/post/a.tif", geotiff(3, 0, side=32))
    assert set(m.wait_jobs(2).values()) == {"completed"}
    assert pairs(m) == [["post/a.tif", "pre/a.tif"]] * 2
    assert len((m.path / "results/flood/all.txt").read_text().split()) == 1


def test_pairs_are_the_same_after_a_kill_and_elsewhere(make_mount, m, tmp_path):
    put(m, "flood/pre/a.tif", geotiff(1, 0))
    put(m, "flood/pre/b.tif", geotiff(2, 1))
    m.kill()
    m.start()
    put(m, "flood/post/b.tif", geotiff(3, 0))
    put(m, "flood/post/c.tif", geotiff(4, 1))
    assert set(m.wait_jobs(2).values()) == {"completed"}
    expected = [["post/b.tif", "pre/a.tif"], ["post/c.tif", "pre/b.tif"]]
    assert pairs(m) == expected
    other = make_mount(f"pipeline={tmp_path / 'pairs.json'}", "poll=0.1", "pool=local",
                       name="other", env=m.engine_settings()).start()
    wait_for("the other mount shows both", lambda: len(other.jobs()) == 2)
    assert pairs(other) == expected and len(m.jobs()) == 2


@pytest.mark.parametrize("demand, kind, says", [
    ({"bands": 3}, "degrees", "1 band, and pipeline 'pairs' takes 3"),
    ({"bands": [3, 4]}, "degrees", "takes 3 or 4"),
    ({"max_pixel_size": 0.6}, "degrees", "pixel size is 6957.21 m"),
    ({"max_pixel_size": 0.6}, "nowhere", "pixel size cannot be told"),
    ({"crs": ["EPSG:32633", "EPSG:3857"]}, "degrees", "coordinate system is EPSG:4326"),
    ({"crs": "EPSG:4326"}, "nowhere", "coordinate system is not known"),
    ({"overlap": 0.5}, "nowhere", "cannot be told where the image lies")])
def test_what_a_role_demands_is_refused_at_close(make_mount, tmp_path, demand, kind, says):
    data = geotiff(1, 0) if kind == "degrees" else tiff(1)
    m = make_mount(f"pipeline={write_pairs(tmp_path / 'pairs.json', **demand)}").start()
    (m.path / "inbox/flood/pre").mkdir(parents=True)
    with pytest.raises(OSError) as e:
        (m.path / "inbox/flood/pre/a.tif").write_bytes(data)
    assert e.value.errno == errno.EBADMSG
    reason = m.path / "rejected/flood/pre/a.tif.reason"
    wait_for("the reason", reason.exists)
    assert says in reason.read_text()
    # A temporary name that becomes a real one is judged the same way.
    (m.path / "inbox/flood/pre/b.tif.part").write_bytes(data)
    with pytest.raises(OSError) as e:
        os.rename(m.path / "inbox/flood/pre/b.tif.part", m.path / "inbox/flood/pre/b.tif")
    assert e.value.errno == errno.EBADMSG
    assert list((m.path / "jobs").iterdir()) == []


def test_too_little_overlap_never_pairs(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pairs(tmp_path / 'pairs.json', overlap=0.5)}", "poll=0.1").start()
    put(m, "flood/pre/a.tif", geotiff(1, 0))
    post = put(m, "flood/post/a.tif", geotiff(2, 0.6))
    wait_for("the measured share is told", lambda: "by 40 %" in waiting(post) and "at least 50 %" in waiting(post))
    put(m, "flood/post/b.tif", geotiff(3, 0.4))
    assert set(m.wait_jobs(1).values()) == {"completed"}
    assert pairs(m) == [["post/b.tif", "pre/a.tif"]]


def test_an_event_copied_in_one_go(m, tmp_path):
    event = tmp_path / "flood"
    for role, seed in (("pre", 0), ("post", 100)):
        (event / role).mkdir(parents=True)
        for k in range(13):
            (event / role / f"{role}-{k:02}.tif").write_bytes(geotiff(seed + k, k))
    subprocess.run(["cp", "-r", str(event), str(m.path / "inbox") + "/"], check=True, timeout=60)
    assert set(m.wait_jobs(13).values()) == {"completed"}
    assert pairs(m) == [[f"post/post-{k:02}.tif", f"pre/pre-{k:02}.tif"] for k in range(13)]
    assert len((m.path / "results/flood/all.txt").read_text().split()) == 13
    subprocess.run(["rsync", "-a", str(event) + "/", str(m.path / "inbox/flood") + "/"], check=True, timeout=60)
    shutil.rmtree(event)
    assert len(m.jobs()) == 13


def test_what_waits_stands_in_a_file_beside_it(m, tmp_path):
    event = m.path / "inbox/flood"
    text = event / "waiting_for"
    event.mkdir()
    assert os.listdir(event) == [] and text.read_text() == ""  # only by its name
    lone = put(m, "flood/post/lone.tif", geotiff(1, west=0))
    put(m, "flood/pre/far.tif", geotiff(2, west=40))
    lines = wait_for("both wait", lambda: len(s := text.read_text().splitlines()) == 2 and s, 20)
    assert sorted(lines) == sorted(f"{name}: {waiting(event / name)}" for name in ("post/lone.tif", "pre/far.tif"))
    assert sorted(os.listdir(event)) == ["post", "pre", "waiting_for"]
    st = text.stat()
    assert st.st_size == len(text.read_bytes()) and stat.S_IMODE(st.st_mode) == 0o444
    assert abs(st.st_mtime - time.time()) < 60

    for write in (lambda: text.write_text("x"), lambda: os.truncate(text, 0), lambda: text.rename(event / "x"),
                  lambda: lone.rename(text), lambda: os.utime(text), lambda: text.chmod(0o600)):
        with pytest.raises(PermissionError) as e:
            write()
        assert e.value.errno == errno.EPERM
    with pytest.raises(FileExistsError):
        text.mkdir()
    blobs = m.path / "containers/ada/images/flood"
    assert sorted(os.listdir(blobs)) == ["post", "pre"]

    # A file of the user's own of that name is theirs, where all blobs are shown, and is not lost here.
    (blobs / "waiting_for").write_text("mine\n")
    wait_for("the listing knows it", lambda: sorted(os.listdir(event)) == ["post", "pre", "waiting_for"], 20)
    assert text.read_text() != "mine\n" and (blobs / "waiting_for").read_text() == "mine\n"

    for copy in (["cp", "-a"], ["rsync", "-a"]):
        subprocess.run([*copy, str(event), str(tmp_path / copy[0])], check=True)
        assert next((tmp_path / copy[0]).rglob("waiting_for")).read_text() == text.read_text()
    partner = put(m, "flood/pre/near.tif", geotiff(3, west=0))
    wait_for("one waits", lambda: len(text.read_text().splitlines()) == 1, 20)
    assert partner.name
    subprocess.run(["rm", "-r", str(event)], check=True, stdin=subprocess.DEVNULL)
    assert not event.exists()
    wait_for("another view of the same blobs knows it, too", lambda: not blobs.exists(), 10)


def test_what_waits_in_no_event_of_its_own(make_mount, tmp_path):
    pipeline = write_pairs(tmp_path / "pairs.json")
    pipeline.write_text(pipeline.read_text().replace("pre/*", "*_pre.tif").replace("post/*", "*_post.tif"))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1").start()
    lone = put(m, "a_pre.tif", tiff(1))
    text = m.path / "inbox/waiting_for"
    wait_for("it waits", lambda: text.read_text() == f"a_pre.tif: {waiting(lone)}\n" != "a_pre.tif: \n", 20)
    assert sorted(os.listdir(m.path / "inbox")) == ["a_pre.tif", "waiting_for"]
    lone.unlink()
    wait_for("nothing waits", lambda: os.listdir(m.path / "inbox") == [], 20)
