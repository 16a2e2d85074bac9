"""rename(2): by server-side copy and delete."""
import errno
import os
import random
import subprocess

import pytest

from harness import wait_for
from site_of_blobs import RENAME_EXCHANGE, RENAME_NOREPLACE, errno_of, rename2

KIB, MIB = 1024, 1024 * 1024


def test_flags(site):
    (site.dir / "a").write_text("a")
    (site.dir / "b").write_text("b")
    (site.dir / "d").mkdir()
    assert errno_of(lambda: rename2(site.dir / "a", site.dir / "b", RENAME_EXCHANGE)) == errno.EINVAL
    assert errno_of(lambda: rename2(site.dir / "a", site.dir / "b", RENAME_NOREPLACE)) == errno.EEXIST
    assert errno_of(lambda: rename2(site.dir / "d", site.dir / "b", RENAME_NOREPLACE)) == errno.EEXIST
    assert errno_of(lambda: rename2(site.dir / "a", site.dir / "d", RENAME_NOREPLACE)) == errno.EEXIST
    rename2(site.dir / "a", site.dir / "c", RENAME_NOREPLACE)
    rename2(site.dir / "d", site.dir / "e", RENAME_NOREPLACE)
    assert sorted(os.listdir(site.dir)) == ["b", "c", "e"] and (site.dir / "c").read_text() == "a"


def test_noreplace_and_somebody_else(make_site):
    site = make_site("attr_timeout=60", name="believing")
    (site.dir / "a").write_text("a")
    os.listdir(site.dir)
    site.blobs.put("data/b", b"theirs")
    assert errno_of(lambda: rename2(site.dir / "a", site.dir / "b", RENAME_NOREPLACE)) in (errno.EEXIST, errno.ESTALE)
    assert site.blobs.get("data/b") == b"theirs" and site.blobs.get("data/a") == b"a"


def test_kinds(site):
    (site.dir / "f").write_text("f")
    (site.dir / "d" / "sub").mkdir(parents=True)
    (site.dir / "empty").mkdir()
    assert errno_of(lambda: os.rename(site.dir / "f", site.dir / "d")) == errno.EISDIR
    assert errno_of(lambda: os.rename(site.dir / "d", site.dir / "f")) == errno.ENOTDIR
    assert errno_of(lambda: os.rename(site.dir / "empty", site.dir / "d")) == errno.ENOTEMPTY
    assert errno_of(lambda: os.rename(site.dir / "d", site.dir / "d" / "sub" / "x")) == errno.EINVAL
    assert errno_of(lambda: os.rename(site.dir / "none", site.dir / "x")) == errno.ENOENT
    assert errno_of(lambda: os.rename(site.dir / "f", site.dir / "no\tname")) == errno.EINVAL
    assert errno_of(lambda: os.rename(site.dir / "f", site.dir / ("x" * 256))) == errno.ENAMETOOLONG
    os.rename(site.dir / "f", site.dir / "f")
    os.rename(site.dir / "d", site.dir / "empty")
    assert sorted(os.listdir(site.dir)) == ["empty", "f"] and os.listdir(site.dir / "empty") == ["sub"]
    site.remount()
    assert sorted(os.listdir(site.dir)) == ["empty", "f"] and (site.dir / "f").read_text() == "f"


def test_a_file_open_for_writing_is_renamed_and_replaced(site):
    with open(site.dir / "a", "wb", buffering=0) as a, open(site.dir / "b", "wb", buffering=0) as b:
        a.write(b"a" * MIB)
        b.write(b"b" * MIB)
        os.rename(site.dir / "a", site.dir / "b")
        assert os.listdir(site.dir) == ["b"]
        a.write(b"more")
        b.write(b"lost")
        assert os.fstat(b.fileno()).st_nlink == 0
    assert site.blobs.get("data/b") == b"a" * MIB + b"more" and site.blobs.names() == ["b"]


def test_an_edited_file_is_renamed_before_it_is_closed(site):
    data = random.Random(3).randbytes(2 * MIB)
    (site.dir / "a").write_bytes(data)
    with open(site.dir / "a", "r+b", buffering=0) as f:
        os.rename(site.dir / "a", site.dir / "b")
        assert f.read(10) == data[:10]
        os.pwrite(f.fileno(), b"edit", MIB)
        os.rename(site.dir / "b", site.dir / "c")
    assert site.blobs.names() == ["c"]
    assert site.blobs.get("data/c") == data[:MIB] + b"edit" + data[MIB + 4:]


def test_what_others_do_to_the_target_does_not_hinder(quick):
    (quick.dir / "a").write_text("a")
    quick.blobs.put("data/b", b"theirs")
    os.rename(quick.dir / "a", quick.dir / "b")
    assert quick.blobs.get("data/b") == b"a" and quick.blobs.names() == ["b"]


def test_a_source_that_somebody_changes_is_not_lost(make_site):
    site = make_site("attr_timeout=60", name="believing")
    (site.dir / "a").write_text("mine")
    (site.dir / "a").stat()
    site.blobs.put("data/a", b"theirs, newer")
    try:
        os.rename(site.dir / "a", site.dir / "b")
    except OSError as e:
        assert e.errno == errno.ESTALE
    left = {site.blobs.get("data/" + name) for name in site.blobs.names()}
    assert left == {b"theirs, newer"}


def test_many_files_in_a_directory(site):
    """mv(1) copies what rename(2) answers with EXDEV."""
    for i in range(150):
        site.blobs.put(f"data/many/f{i}", str(i).encode())
    assert errno_of(lambda: os.rename(site.dir / "many", site.dir / "more")) == errno.EXDEV
    assert len(os.listdir(site.dir / "many")) == 150 and os.listdir(site.dir) == ["many"]
    subprocess.run(["mv", site.dir / "many", site.dir / "more"], check=True, timeout=60)
    assert os.listdir(site.dir) == ["more"]
    assert {(site.dir / "more" / f"f{i}").read_text() for i in range(150)} == {str(i) for i in range(150)}


def test_a_directory_moves_with_all_that_cannot_be_shown(site):
    site.blobs.put("data/d/f", b"1")
    site.blobs.put("data/d//odd", b"2")
    site.blobs.put("data/d/x", b"3")
    site.blobs.put("data/d/x/y", b"4")
    site.blobs.put("data/d/e/", b"")
    site.blobs.put("data/d/" + "n" * 300, b"5")
    os.rename(site.dir / "d", site.dir / "g")
    assert sorted(site.blobs.names()) == sorted(["g/f", "g//odd", "g/x", "g/x/y", "g/e/", "g/" + "n" * 300])


def test_a_directory_whose_new_names_would_be_too_long_stays_whole(site):
    for i in range(5):
        site.blobs.put(f"data/d/{'p' * 200}/{'q' * 200}/{'r' * 200}/{'s' * 200}/f{i}", b"x")
    site.blobs.put("data/d/a", b"1")
    before = sorted(site.blobs.names())
    assert errno_of(lambda: os.rename(site.dir / "d", site.dir / ("x" * 250))) == errno.ENAMETOOLONG
    assert sorted(site.blobs.names()) == before


def renamed(old, new) -> bool:
    try:
        os.rename(old, new)
        return True
    except OSError as e:
        assert e.errno == errno.EXDEV
        return False


def test_files_being_written_below_a_directory(site):
    (site.dir / "d").mkdir()
    with open(site.dir / "d" / "f", "w") as f:
        f.write("x")
        f.flush()
        assert errno_of(lambda: os.rename(site.dir / "d", site.dir / "e")) == errno.EXDEV
    # The kernel tells of the last close a moment after close(2).
    wait_for("the file is closed", lambda: renamed(site.dir / "d", site.dir / "e"))
    assert (site.dir / "e" / "f").read_text() == "x"


def test_into_another_container_and_another_tree(site, tmp_path):
    (site.root / "other").mkdir()
    (site.dir / "f").write_text("x")
    os.chmod(site.dir / "f", 0o755)
    os.rename(site.dir / "f", site.root / "other" / "g")
    assert (site.root / "other" / "g").read_text() == "x" and (site.root / "other" / "g").stat().st_mode & 0o777 == 0o755
    (site.dir / "d").mkdir()
    assert errno_of(lambda: os.rename(site.dir / "d", site.root / "other" / "d")) == errno.EXDEV
    subprocess.run(["mv", site.dir / "d", site.root / "other" / "d"], check=True)
    assert sorted(os.listdir(site.root / "other")) == ["d", "g"]
    assert errno_of(lambda: os.rename(site.root / "other" / "g", site.mount.path / "inbox" / "g")) == errno.EXDEV
    assert errno_of(lambda: os.rename(site.root / "other" / "g", site.mount.path / "results" / "g")) in (errno.EXDEV, errno.EROFS)
    assert errno_of(lambda: os.rename(site.root / "other", site.root / "third")) in (errno.EPERM, errno.EXDEV)


@pytest.mark.parametrize("seed", [1, 2])
def test_renames_and_reads_at_once(site, seed):
    """A reader never sees anything but one whole version of the file."""
    versions = [bytes([65 + i]) * (400 * KIB) for i in range(6)]
    (site.dir / "f").write_bytes(versions[0])
    reader = subprocess.Popen(["sh", "-c", f"i=0; while [ $i -lt 60 ]; do cat '{site.dir}/f' | sha256sum; i=$((i+1)); done"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rnd = random.Random(seed)
    while reader.poll() is None:
        (site.dir / "new").write_bytes(rnd.choice(versions))
        os.rename(site.dir / "new", site.dir / "f")
    out, err = reader.communicate()
    import hashlib
    assert set(line.split()[0] for line in out.splitlines()) <= {hashlib.sha256(v).hexdigest() for v in versions}, err
    assert err == ""
    wait_for("only the file is left", lambda: site.blobs.names() == ["f"])
