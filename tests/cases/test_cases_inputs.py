"""Cases 1 to 8: files that are no images, half images, and images of another kind than expected."""
import json
import os
import signal
import struct
import subprocess

import pytest

from acts import attribute, ends, in_batch, map_of, named, need, one_job, only_the_last_becomes_a_job, refused, run
from harness import shared_data, wait_for
from images import tiff


def with_next_directory(data: bytes, offset: int) -> bytes:
    """A TIFF whose (only) directory names another place for the next one."""
    return data[:-4] + struct.pack("<I", offset)


def broken(kind: str) -> bytes:
    whole = tiff(1, 64)
    (directory,) = struct.unpack("<I", whole[4:8])
    return {"magic": b"IX" + whole[2:],
            "directory outside the file": whole[:4] + struct.pack("<I", 10 * len(whole)) + whole[8:],
            "next directory outside the file": with_next_directory(whole, 10 * len(whole)),
            "a loop of directories": with_next_directory(whole, directory),
            "an offset beyond the end": whole.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, 1 << 30)),
            "four billion pixels a side": whole.replace(struct.pack("<HHI", 256, 3, 1) + struct.pack("<HH", 64, 0),
                                                        struct.pack("<HHII", 256, 4, 1, 0xffffffff))}[kind]


def test_case_01_a_corrupt_geotiff_is_refused_and_explained(mounted, tmp_path):
    """1: bad magic, directories outside the file or in a loop: refused with a reason, kept, never a job."""
    for i, (kind, words) in enumerate([
            ("magic", "none of TIFF"), ("directory outside the file", "directory"), ("next directory outside the file", "directory"),
            ("a loop of directories", "directory"), ("an offset beyond the end", "StripOffsets 1073741824"),
            ("four billion pixels a side", "4294967295 x 64")]):
        source = tmp_path / f"bad{i}.tif"
        source.write_bytes(broken(kind))
        reason = refused(mounted, source, source.name)
        assert words in reason and len(reason.splitlines()) == 1, kind
    only_the_last_becomes_a_job(mounted)


def test_case_01_the_real_corrupt_image(mounted):
    """1: a real GeoTIFF with a wrong offset: the reason names tag and offset."""
    reason = refused(mounted, shared_data() / "corrupt.tif", "corrupt.tif")
    assert "TileOffsets" in reason and any(word.strip("(),").isdigit() for word in reason.split())


def test_case_02_a_truncated_geotiff_is_refused_until_it_is_whole(mounted, tmp_path):
    """2: strips beyond the end of the file: refused with the sizes; copied again whole it becomes a job."""
    # The directory comes first here, as in most files of satellites, and the pixels are cut off.
    whole = tiff(2, 64)
    (at,) = struct.unpack("<I", whole[4:8])
    directory, pixels = whole[at:], whole[8:at]
    directory = directory.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, 8 + len(directory)))
    source = tmp_path / "cut.tif"
    source.write_bytes(whole[:4] + struct.pack("<I", 8) + directory + pixels[:2500])
    reason = refused(mounted, source, "cut.tif")
    assert "StripOffsets" in reason and "4096 bytes" in reason and str(source.stat().st_size) in reason
    assert not named(mounted, "flood-cut")
    source.write_bytes(whole[:4] + struct.pack("<I", 8) + directory + pixels)
    run("cp", source, mounted.path / "inbox/flood/cut.tif")
    ends(one_job(mounted, "flood-cut"), "completed")
    assert len(in_batch(mounted)) == 1


def test_case_03_a_cp_that_is_killed_halfway_starts_nothing(mounted, tmp_path):
    """3: the kernel closes the file of a killed cp: no job, no half file; cp again goes on as the same entry."""
    data = tiff(3, 1000)
    fifo = tmp_path / "slow-disk"
    os.mkfifo(fifo)
    target = mounted.path / "inbox/flood/a.tif"
    cp = subprocess.Popen(["cp", str(fifo), str(target)], stderr=subprocess.DEVNULL)
    with open(fifo, "wb", buffering=0) as f:
        f.write(data[:len(data) // 2])
        wait_for("half of it was written", lambda: target.exists() and target.stat().st_size > 400_000, 20)
        cp.send_signal(signal.SIGKILL)
        assert cp.wait(20) == -signal.SIGKILL
    wait_for("the half is gone", lambda: not target.exists(), 20)
    assert os.listdir(mounted.path / "rejected") == []
    (tmp_path / "a.tif").write_bytes(data)
    run("cp", tmp_path / "a.tif", target)
    job = ends(one_job(mounted, "flood-a"), "completed")
    assert (job / "image").read_bytes() == data and in_batch(mounted) == [job.name]


def test_case_04_a_writer_that_sizes_the_file_before_it_fills_it(mounted):
    """4: fallocate, then the parts in any order: the size says nothing, the last close starts one job."""
    data = tiff(4, 1000)
    fd = os.open(mounted.path / "inbox/flood/sized.tif", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, len(data))
    for at in range(len(data) // 100_000 * 100_000, -1, -100_000):
        os.pwrite(fd, data[at:at + 100_000], at)
        assert os.fstat(fd).st_size == len(data)
    only_the_last_becomes_a_job(mounted)  # every byte is there, and the file is still open
    os.close(fd)
    job = ends(one_job(mounted, "flood-sized"), "completed")
    assert (job / "image").read_bytes() == data and len(in_batch(mounted)) == 2


def test_case_05_holes_are_zeros(mounted, tmp_path):
    """5: a sparse image by cp --sparse: identical bytes and a job; punch_hole is refused and harms nothing."""
    grey = tiff(5, 2000)
    source = tmp_path / "holes.tif"
    (at,) = struct.unpack("<I", grey[4:8])
    with open(source, "wb") as f:
        f.write(grey[:8 + 50_000])
        f.seek(at)
        f.write(grey[at:])
    run("cp", "--sparse=always", source, mounted.path / "inbox/flood/holes.tif")
    job = ends(one_job(mounted, "flood-holes"), "completed")
    stored = mounted.path / "containers/ada/images/flood/holes.tif"
    run("cmp", source, stored)
    run("cmp", source, job / "image")
    done = run("fallocate", "--punch-hole", "-o", 0, "-l", 4096, stored, want=1)
    assert "support" in done.stderr, done.stderr
    run("cmp", source, stored)


def test_case_06_what_is_no_image_is_refused_by_its_kind(mounted, tmp_path):
    """6: a PDF named .tif, a zip, a docx, a text: refused with what it is."""
    for name, data, words in [("paper.tif", b"%PDF-1.7\n" + bytes(5000), "a PDF document"),
                              ("all.zip", b"PK\3\4" + bytes(5000), "a ZIP archive"),
                              ("report.docx", b"PK\3\4" + bytes(6000), "a ZIP archive"), ("notes.tif", b"just words\n" * 100, "a text")]:
        (tmp_path / name).write_bytes(data)
        assert words in refused(mounted, tmp_path / name, name)
    only_the_last_becomes_a_job(mounted)


def test_case_06_an_empty_file_is_a_placeholder(mounted):
    """6: touch makes a placeholder that starts nothing, and the image that follows starts its job."""
    placeholder = mounted.path / "inbox/flood/later.tif"
    run("touch", placeholder)
    only_the_last_becomes_a_job(mounted)
    assert placeholder.stat().st_size == 0 and os.listdir(mounted.path / "rejected") == []
    placeholder.write_bytes(tiff(6))
    ends(one_job(mounted, "flood-later"), "completed")


@pytest.mark.parametrize("options", [["-bands", 1, "-ot", "UInt16"], ["-bands", 4, "-a_srs", "EPSG:32632", "-a_ullr", 0, 300, 300, 0],
                                     ["-bands", 3, "-burn", 0, "-a_nodata", 0]], ids=["one band, 16 bits, no CRS", "3 m", "all nodata"])
def test_case_07_a_pipeline_without_demands_takes_every_whole_image(mounted, tmp_path, options):
    """7: few bands, coarse pixels, no CRS, all nodata: an image is refused for what a pipeline demands, else never."""
    need("gdal_create")
    run("gdal_create", "-of", "GTiff", "-outsize", 100, 100, *options, tmp_path / "odd.tif")
    run("cp", tmp_path / "odd.tif", mounted.path / "inbox/flood/odd.tif")
    ends(one_job(mounted, "flood-odd"), "completed")


@pytest.fixture
def paired(make_mount, tmp_path):
    """A mount whose pipeline wants a pre- and a post-event image."""
    pipeline = {"name": "pair", "inputs": {"pre": {"match": "pre-event/*"}, "post": {"match": "post-event/*"}},
                "steps": [{"name": "join", "command": "cat {pre} {post} | wc -c > both.txt", "outputs": {"both": "both.txt"},
                           "result": True}],
                "merge": {"command": "cat {parts}/*/both.txt > all.txt", "outputs": {"all": "all.txt"}, "when_empty": {"all": ""}}}
    (tmp_path / "pair.json").write_text(json.dumps(pipeline))
    m = make_mount(f"pipeline={tmp_path / 'pair.json'}", "poll=0.1", "attr_timeout=1").start()
    for role in ("pre-event", "post-event"):
        (m.path / "inbox/flood" / role).mkdir(parents=True)
    return m


def test_case_08_half_a_pair_waits_and_costs_nothing(paired):
    """8: only the pre-event image is there: it waits for its partner without a job, then both are one."""
    pre = paired.path / "inbox/flood/pre-event/x.tif"
    pre.write_bytes(tiff(1))
    wait_for("it waits", lambda: attribute(pre, "user.adafs.state") == "waiting", 20)
    status = json.loads((paired.path / "status.json").read_text())
    assert "inbox/flood/post-event" in json.dumps(status), "the status says what is missing and where it belongs"
    assert paired.jobs() == {} and in_batch(paired) == []
    (paired.path / "inbox/flood/post-event/x.tif").write_bytes(tiff(2, 32))
    job = ends(one_job(paired, "flood-x"), "completed")
    assert sorted(os.listdir(job / "image")) == ["post", "pre"]
    wait_for("the map", lambda: map_of(paired) == [str(len(tiff(1)) + len(tiff(2, 32)))], 20)
    assert in_batch(paired) == [job.name]


def test_case_08_an_image_without_a_role_is_refused(paired, tmp_path):
    """8: an image that is neither pre nor post is told so at close."""
    (tmp_path / "x.tif").write_bytes(tiff(1))
    assert "pre-event/*" in refused(paired, tmp_path / "x.tif", "x.tif")
