"""Symbolic links: blobs whose content is the target, with metadata is_symlink=true, as blobfuse2 keeps them."""
import errno
import os
import stat
import subprocess

import pytest

from site_of_blobs import errno_of


def test_a_link_is_made_followed_and_removed(site):
    (site.dir / "f").write_text("content")
    os.symlink("f", site.dir / "link")
    assert os.readlink(site.dir / "link") == "f"
    assert (site.dir / "link").read_text() == "content"
    seen = os.lstat(site.dir / "link")
    assert stat.S_ISLNK(seen.st_mode) and seen.st_size == 1
    assert {e.name: e.is_symlink() for e in os.scandir(site.dir)} == {"f": False, "link": True}
    assert site.blobs.get("data/link") == b"f" and site.blobs.meta("data/link")["is_symlink"] == "true"
    assert errno_of(lambda: os.symlink("g", site.dir / "link")) == errno.EEXIST
    assert errno_of(lambda: os.symlink("g", site.dir / "f")) == errno.EEXIST
    site.remount()
    assert os.readlink(site.dir / "link") == "f" and (site.dir / "link").read_text() == "content"
    os.unlink(site.dir / "link")
    assert os.listdir(site.dir) == ["f"] and (site.dir / "f").read_text() == "content"


@pytest.mark.parametrize("target", ["a/../b", "/etc/hostname", "nowhere", "ümläut with space%20+", "x" * 4095, "line\nline"])
def test_targets_are_kept_to_the_byte(site, target):
    os.symlink(target, site.dir / "link")
    site.remount()
    assert os.readlink(site.dir / "link") == target
    assert os.lstat(site.dir / "link").st_size == len(target.encode())


def test_a_link_through_directories(site):
    (site.dir / "real" / "sub").mkdir(parents=True)
    (site.dir / "real" / "sub" / "f").write_text("1")
    os.symlink("real", site.dir / "alias")
    os.symlink("../..", site.dir / "real" / "sub" / "up")
    assert (site.dir / "alias/sub/f").read_text() == "1" and sorted(os.listdir(site.dir / "alias/sub/up")) == ["alias", "real"]
    os.symlink("self", site.dir / "self")
    assert errno_of(lambda: open(site.dir / "self")) == errno.ELOOP
    assert errno_of(lambda: os.readlink(site.dir / "real")) == errno.EINVAL
    assert errno_of(lambda: os.rmdir(site.dir / "alias")) == errno.ENOTDIR
    subprocess.run(["rm", "-r", site.dir / "alias", site.dir / "real"], check=True)
    assert os.listdir(site.dir) == ["self"]


def test_links_are_renamed_and_replaced(site):
    os.symlink("a", site.dir / "one")
    os.symlink("b", site.dir / "two")
    os.rename(site.dir / "one", site.dir / "two")
    assert os.readlink(site.dir / "two") == "a" and os.listdir(site.dir) == ["two"]
    # As `ln -sfn` does it.
    subprocess.run(["ln", "-sfn", "c", site.dir / "two"], check=True)
    assert os.readlink(site.dir / "two") == "c"
    (site.dir / "f").write_text("x")
    os.rename(site.dir / "f", site.dir / "two")
    assert (site.dir / "two").read_text() == "x" and not (site.dir / "two").is_symlink()
    os.symlink("d", site.dir / "three")
    os.rename(site.dir / "three", site.dir / "two")
    site.remount()
    assert os.readlink(site.dir / "two") == "d" and os.listdir(site.dir) == ["two"]


def test_times_of_links(site, tmp_path):
    os.symlink("nowhere", tmp_path / "s")
    os.utime(tmp_path / "s", ns=(10**18, 10**18 + 5), follow_symlinks=False)
    subprocess.run(["cp", "-a", tmp_path / "s", site.dir / "link"], check=True)
    site.remount()
    assert os.lstat(site.dir / "link").st_mtime_ns == 10**18 + 5
    assert os.readlink(site.dir / "link") == "nowhere"


def test_links_of_blobfuse2(site):
    site.blobs.put("data/f", b"content")
    site.blobs.put("data/link", b"f", x_ms_meta_Is_symlink="True")
    site.blobs.put("data/empty", b"", x_ms_meta_is_symlink="true")
    site.blobs.put("data/long", b"x" * 5000, x_ms_meta_is_symlink="true")
    site.blobs.put("data/nul", b"a\0b", x_ms_meta_is_symlink="true")
    site.blobs.put("data/no", b"f", x_ms_meta_is_symlink="false")
    os.listdir(site.dir)
    assert os.readlink(site.dir / "link") == "f" and (site.dir / "link").read_bytes() == b"content"
    assert (site.dir / "no").read_bytes() == b"f" and (site.dir / "empty").stat().st_size == 0
    assert len((site.dir / "long").read_bytes()) == 5000
    assert errno_of(lambda: os.readlink(site.dir / "nul")) == errno.EIO
    os.unlink(site.dir / "nul")


def test_a_changed_link_is_seen(quick):
    os.symlink("old", quick.dir / "link")
    assert os.readlink(quick.dir / "link") == "old"
    quick.blobs.put("data/link", b"new", x_ms_meta_is_symlink="true")
    assert os.readlink(quick.dir / "link") == "new"
    quick.blobs.put("data/link", b"a file now")
    assert (quick.dir / "link").read_bytes() == b"a file now"


def test_requests_of_links(site):
    os.listdir(site.dir)
    assert site.requests(lambda: os.symlink("f", site.dir / "link")) == {"PutBlob": 1}
    assert site.requests(lambda: os.readlink(site.dir / "link")) == {}
    site.remount()
    os.listdir(site.dir)
    assert site.requests(lambda: os.readlink(site.dir / "link")) == {"GetBlob": 1}
    assert site.requests(lambda: os.readlink(site.dir / "link")) == {}


def test_elsewhere_links_are_refused(site):
    root = site.mount.path
    (root / "inbox/flood").mkdir()
    assert errno_of(lambda: os.symlink("f", root / "inbox/flood/link")) == errno.EPERM
    assert errno_of(lambda: os.symlink("f", root / "inbox/link")) == errno.EPERM
    assert errno_of(lambda: os.symlink("f", root / "results/link")) == errno.EROFS
    assert errno_of(lambda: os.link(root / "status.json", root / "containers/link")) in (errno.EPERM, errno.EXDEV)
    (site.dir / "f").touch()
    assert errno_of(lambda: os.link(site.dir / "f", site.dir / "g")) == errno.EPERM
