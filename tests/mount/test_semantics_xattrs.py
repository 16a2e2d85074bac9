"""Extended attributes: user.* is the blob's metadata, of a directory its marker's."""
import base64
import errno
import os
import subprocess

import pytest

from site_of_blobs import errno_of


def attributes(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def test_plain_names_and_values_are_metadata_as_they_are(site):
    path = site.dir / "f"
    path.write_text("x")
    os.utime(path, ns=(10**18, 10**18))
    os.setxattr(path, "user.event", b"flood 2026")
    assert site.blobs.meta("data/f")["event"] == "flood 2026"
    assert path.stat().st_mtime_ns == 10**18
    site.remount()
    assert attributes(path) == {"user.event": b"flood 2026"}
    assert path.read_text() == "x"
    os.removexattr(path, "user.event")
    assert attributes(path) == {} and "event" not in site.blobs.meta("data/f")
    assert errno_of(lambda: os.removexattr(path, "user.event")) == errno.ENODATA


NAMES = {"user.xdg.origin.url": "xattr_xdg_2eorigin_2eurl", "user.Upper": "xattr__55pper", "user.1st": "xattr_1st",
         "user.mtime": "xattr_mtime", "user.mode": "xattr_mode", "user.is_symlink": "xattr_is_5fsymlink",
         "user.xattr_a": "xattr_xattr_5fa", "user.ü": "xattr__c3_bc", "user._a9": "_a9", "user.a b": "xattr_a_20b"}


def test_other_names_are_escaped(site):
    path = site.dir / "f"
    path.write_text("x")
    for name in NAMES:
        os.setxattr(path, name, name.encode())
    meta = site.blobs.meta("data/f")
    for name, key in NAMES.items():
        assert key in meta, name
    site.remount()
    assert attributes(path) == {name: name.encode() for name in NAMES}
    os.setxattr(path, "user.upper", b"another")
    assert os.getxattr(path, "user.Upper") == b"user.Upper" and os.getxattr(path, "user.upper") == b"another"
    assert path.stat().st_mode & 0o777 == 0o644


VALUES = [b"", b" ", b"ends with space ", "ü".encode(), b"\0\1\xff", b"line\nline", b"base64:", b"base64:YQ==", b"a" * 4000]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_any_value_comes_back(site, value):
    path = site.dir / "f"
    path.write_text("x")
    os.setxattr(path, "user.v", value)
    site.remount()
    assert os.getxattr(path, "user.v") == value
    if value.startswith((b"\0", b" ")) or not value:
        assert site.blobs.meta("data/f")["v"] == "base64:" + base64.b64encode(value).decode()


def test_flags_and_limits(site):
    path = site.dir / "f"
    path.write_text("x")
    assert errno_of(lambda: os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)) == errno.ENODATA
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    assert errno_of(lambda: os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)) == errno.EEXIST
    os.setxattr(path, "user.a", b"2", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.a") == b"2"
    assert errno_of(lambda: os.setxattr(path, "user.big", b"x" * 9000)) == errno.E2BIG
    os.setxattr(path, "user.half", b"x" * 5000)
    assert errno_of(lambda: os.setxattr(path, "user.more", b"x" * 3000)) == errno.ENOSPC
    os.setxattr(path, "user.half", b"x" * 6500)
    assert sorted(attributes(path)) == ["user.a", "user.half"]
    assert errno_of(lambda: os.setxattr(path, "user.adafs.job", b"x")) == errno.EPERM
    assert errno_of(lambda: os.removexattr(path, "user.adafs.etag")) == errno.EPERM
    assert errno_of(lambda: os.setxattr(path, "security.x", b"x")) == errno.EOPNOTSUPP
    assert errno_of(lambda: os.setxattr(path, "trusted.x", b"x")) == errno.EOPNOTSUPP


def test_an_attribute_of_a_file_being_written_joins_its_commit(site):
    os.listdir(site.dir)

    def write():
        with open(site.dir / "f", "wb", buffering=0) as f:
            f.write(b"x" * 1000)
            os.setxattr(f.fileno(), "user.event", b"flood")
            os.fchmod(f.fileno(), 0o700)
            os.utime(f.fileno(), ns=(10**18, 10**18))
            assert os.getxattr(f.fileno(), "user.event") == b"flood"
    assert site.requests(write) == {"PutBlob": 1}
    meta = site.blobs.meta("data/f")
    assert meta["event"] == "flood" and meta["mode"] == "100700"
    assert (site.dir / "f").stat().st_mtime_ns == 10**18


def test_attributes_stay_with_content_that_changes(site):
    path = site.dir / "f"
    path.write_text("x")
    os.setxattr(path, "user.event", b"flood")
    os.chmod(path, 0o755)
    path.write_text("other")
    with open(path, "r+b", buffering=0) as f:
        f.write(b"O")
        os.setxattr(path, "user.second", b"2")
    path.rename(site.dir / "g")
    site.remount()
    assert attributes(site.dir / "g") == {"user.event": b"flood", "user.second": b"2"}
    assert (site.dir / "g").stat().st_mode & 0o777 == 0o755 and (site.dir / "g").read_text() == "Other"
    assert attributes(site.dir / "g") == {"user.event": b"flood", "user.second": b"2"}


def test_an_open_file_that_was_not_changed_gets_it_at_once(site):
    path = site.dir / "f"
    path.write_text("x")
    with open(path, "r+b", buffering=0) as f:
        os.setxattr(path, "user.event", b"flood")
        assert site.blobs.meta("data/f")["event"] == "flood"
        f.write(b"y")
    assert site.blobs.get("data/f") == b"y" and site.blobs.meta("data/f")["event"] == "flood"


def test_metadata_of_others(site):
    site.blobs.put("data/f", b"x", x_ms_meta_Author="Someone", x_ms_meta_hdi_permission="0755", x_ms_meta_mtime="2020-01-01T00:00:00Z")
    path = site.dir / "f"
    assert attributes(path) == {"user.author": b"Someone", "user.hdi_permission": b"0755"}
    assert int(path.stat().st_mtime) == 1577836800
    os.setxattr(path, "user.author", b"Somebody", os.XATTR_REPLACE)
    meta = site.blobs.meta("data/f")
    assert meta["author"] == "Somebody" and meta["hdi_permission"] == "0755"
    os.removexattr(path, "user.author")
    assert "author" not in site.blobs.meta("data/f")


def test_the_version_of_somebody_else_is_not_changed(make_site):
    site = make_site("attr_timeout=60", name="believing")
    path = site.dir / "f"
    path.write_text("mine")
    path.stat()
    site.blobs.put("data/f", b"theirs", x_ms_meta_event="storm")
    # The kernel asks again after ESTALE, and finds the new one.
    os.setxattr(path, "user.event", b"flood")
    assert site.blobs.get("data/f") == b"theirs" and site.blobs.meta("data/f")["event"] == "flood"
    assert path.read_text() == "theirs"


def test_directories(site):
    (site.dir / "marked").mkdir()
    site.blobs.put("data/virtual/f", b"1")
    for name in ("marked", "virtual"):
        os.setxattr(site.dir / name, "user.event", name.encode())
        assert site.blobs.meta("data/" + name)["event"] == name
        assert site.blobs.meta("data/" + name)["hdi_isfolder"] == "true"
    site.remount()
    assert attributes(site.dir / "virtual") == {"user.event": b"virtual"}
    assert (site.dir / "virtual" / "f").read_text() == "1"
    (site.dir / "marked").rename(site.dir / "renamed")
    assert attributes(site.dir / "renamed") == {"user.event": b"marked"}
    os.removexattr(site.dir / "renamed", "user.event")
    assert errno_of(lambda: os.setxattr(site.dir, "user.event", b"x")) == errno.EOPNOTSUPP


def test_programs(site, tmp_path):
    (tmp_path / "s").write_text("x")
    os.setxattr(tmp_path / "s", "user.xdg.origin.url", b"https://example.org/?a=1&b")
    os.setxattr(tmp_path / "s", "user.binary", bytes(range(256)))
    subprocess.run(["cp", "-a", tmp_path / "s", site.dir / "f"], check=True)
    site.remount()
    subprocess.run(["cp", "-a", site.dir / "f", tmp_path / "back"], check=True)
    assert attributes(tmp_path / "back") == {"user.xdg.origin.url": b"https://example.org/?a=1&b", "user.binary": bytes(range(256))}


def test_elsewhere(site):
    root = site.mount.path
    (root / "inbox/flood").mkdir()
    (root / "inbox/flood/a.part").write_bytes(b"x")
    os.setxattr(root / "inbox/flood/a.part", "user.sensor", b"S2")
    assert os.getxattr(root / "inbox/flood/a.part", "user.sensor") == b"S2"
    (root / "inbox/flood/a.part").rename(root / "inbox/flood/b.part")
    assert os.getxattr(root / "inbox/flood/b.part", "user.sensor") == b"S2"
    assert errno_of(lambda: os.setxattr(root / "results", "user.a", b"x")) == errno.EROFS
