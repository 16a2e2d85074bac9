"""rejected/: what was refused stays, whatever is refused after it."""
import errno
import hashlib
import os

import pytest

from harness import wait_for
from images import tiff, write_pipeline


@pytest.fixture
def mounted(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    return m


def refuse(m, name, data):
    with pytest.raises(OSError) as e:
        (m.path / "inbox/flood" / name).write_bytes(data)
    assert e.value.errno == errno.EBADMSG


def kept(m, name):
    """The bytes and the reason of a refused file, once both are there."""
    path = m.path / "rejected/flood" / name
    reason = path.with_name(f"{name}.reason")
    wait_for(f"{name} is kept", lambda: reason.exists() and path.exists(), 20)
    return path.read_bytes(), reason.read_text()


def other(name, data):
    stem, dot, ext = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(data).hexdigest()[:8]}{dot}{ext}"


def test_a_second_refusal_of_a_name_leaves_the_first(mounted):
    first, second = tiff(1, 64)[:-200], b"no image at all"
    refuse(mounted, "cut.tif", first)
    before = kept(mounted, "cut.tif")
    assert before[0] == first
    refuse(mounted, "cut.tif", second)
    assert kept(mounted, other("cut.tif", second))[0] == second
    assert kept(mounted, "cut.tif") == before
    assert kept(mounted, other("cut.tif", second))[1] != before[1]


def test_the_same_bytes_again_are_the_same_entry(mounted):
    data, last = b"no image at all", b"neither is this"
    for _ in range(2):
        refuse(mounted, "a.tif", data)
        assert kept(mounted, "a.tif")[0] == data
    for _ in range(2):
        refuse(mounted, "a.tif", last)
        assert kept(mounted, other("a.tif", last))[0] == last
    refuse(mounted, "z.tif", data)
    kept(mounted, "z.tif")
    names = {"a.tif", other("a.tif", last), "z.tif"}
    assert set(os.listdir(mounted.path / "rejected/flood")) == names | {f"{n}.reason" for n in names}


def test_removed_bytes_are_kept_again(mounted):
    refuse(mounted, "a.tif", b"no image")
    kept(mounted, "a.tif")
    (mounted.path / "rejected/flood/a.tif").unlink()
    refuse(mounted, "a.tif", b"no image")
    assert kept(mounted, "a.tif")[0] == b"no image"


def test_blocks(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "attr_timeout=1", "block_size=4M").start()
    (m.path / "inbox/flood").mkdir()
    first, second = bytes(5 << 20), b"x" * (9 << 20)
    refuse(m, "big.tif", first)
    assert kept(m, "big.tif")[0] == first
    refuse(m, "big.tif", second)
    assert kept(m, other("big.tif", second))[0] == second
    assert kept(m, "big.tif")[0] == first


def test_a_name_too_long_for_its_reason_is_cut(mounted):
    data = b"no image"
    name = "ä" * 125 + ".tif"
    refuse(mounted, name, data)
    digits = hashlib.sha256(data).hexdigest()[:8]
    # The folder comes with its first file.
    folder = mounted.path / "rejected/flood"
    shorter = wait_for("a shorter name", lambda: folder.is_dir() and next(
        (n for n in os.listdir(folder) if n.endswith(f".{digits}.tif")), None), 20)
    assert shorter.startswith("ä" * 100) and kept(mounted, shorter)[0] == data
