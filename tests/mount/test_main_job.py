"""The main job with the shipped quicklook pipeline on real images."""
import errno
import json
import shutil
import subprocess

import pytest

from harness import shared_data, wait_for


def layers(path) -> str:
    done = subprocess.run(["ogrinfo", "-al", "-so", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_image_in_the_default_event(make_mount):
    data = shared_data()
    m = make_mount().start()
    shutil.copyfile(data / "RGB.byte.tif", m.path / "inbox" / "RGB.byte.tif")
    jobs = m.wait_jobs(1, 180)
    assert set(jobs.values()) <= {"completed", "empty"}, jobs
    merged = wait_for("the map", lambda: (m.path / "results/default/buildings.geojson").exists()
                      and m.path / "results/default/buildings.geojson", 30)
    assert "Geometry" in layers(merged)


def test_three_images_at_once_become_one_layer(make_mount):
    data = shared_data()
    m = make_mount().start()
    (m.path / "inbox" / "landsat").mkdir()
    subprocess.run(["cp", *(str(data / n) for n in ("rgb_lzw.tif", "rgb_deflate.tif", "cogeo.tif")),
                    str(m.path / "inbox" / "landsat") + "/"], check=True, timeout=60)
    jobs = m.wait_jobs(3, 240)
    assert set(jobs.values()) <= {"completed", "empty"}, jobs

    def complete():
        try:
            return json.loads((m.path / "results/landsat/summary.json").read_text())
        except OSError:
            return None
    summary = wait_for("the map counts three images",
                       lambda: (s := complete()) and len(s.get("images", s.get("jobs", []))) >= 3 and s, 30)
    assert summary
    assert layers(m.path / "results/landsat/buildings.geojson").count("Layer name") == 1


def test_a_corrupt_image_fails_at_close_and_is_explained(make_mount):
    data = shared_data()
    m = make_mount().start()
    done = subprocess.run(["cp", str(data / "corrupt.tif"), str(m.path / "inbox") + "/"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    reason = wait_for("the reason", lambda: (m.path / "rejected/corrupt.tif.reason").exists()
                      and (m.path / "rejected/corrupt.tif.reason").read_text(), 30)
    assert "tile" in reason and "end of the file" in reason
    kept = m.path / "rejected/corrupt.tif"  # the reason is stored first
    wait_for("the refused bytes", kept.exists, 30)
    assert kept.read_bytes() == (data / "corrupt.tif").read_bytes()
    assert list((m.path / "jobs").iterdir()) == []
    with pytest.raises(OSError) as e:
        (m.path / "inbox" / "text.tif").write_bytes(b"this is no image at all")
    assert e.value.errno == errno.EBADMSG
