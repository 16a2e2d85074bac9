"""Blobs of others that a tree has no place for: one rule, nothing is lost, nothing is listed twice."""
import errno
import os
import re
import subprocess
import urllib.error
import urllib.parse

import pytest

from site_of_blobs import errno_of


def listed(path):
    names = os.listdir(path)
    assert len(names) == len(set(names))
    return sorted(names)


def tree(path):
    return sorted(os.path.relpath(os.path.join(top, n), path) for top, dirs, files in os.walk(path) for n in dirs + files)


def test_a_blob_beside_a_directory_is_hidden_and_comes_back(site):
    site.blobs.put("data/a", b"the file")
    site.blobs.put("data/a/b", b"below")
    site.remount()
    assert listed(site.dir) == ["a"] and (site.dir / "a").is_dir() and listed(site.dir / "a") == ["b"]
    site.remount()
    assert (site.dir / "a" / "b").read_bytes() == b"below"  # looked up, not listed
    assert errno_of(lambda: open(site.dir / "a", "w")) == errno.EISDIR
    assert listed(site.dir) == ["a"]
    subprocess.run(["rm", "-r", site.dir / "a"], check=True)
    assert site.blobs.names() == ["a"]
    assert listed(site.dir) == ["a"] and (site.dir / "a").read_bytes() == b"the file"
    (site.dir / "a").unlink()
    assert listed(site.dir) == []


def test_a_directory_that_hides_a_blob_is_renamed(site):
    site.blobs.put("data/a", b"the file")
    site.blobs.put("data/a/b", b"below")
    assert listed(site.dir) == ["a"]
    os.rename(site.dir / "a", site.dir / "c")
    assert listed(site.dir) == ["a", "c"]
    site.remount()
    assert tree(site.dir) == ["a", "c", "c/b"] and (site.dir / "a").read_bytes() == b"the file"


def test_nothing_is_written_over_a_hidden_blob(site):
    site.blobs.put("data/a", b"the file")
    site.blobs.put("data/a/b", b"below")
    os.utime(site.dir / "a", ns=(10**18, 10**18))
    os.chmod(site.dir / "a", 0o700)
    assert errno_of(lambda: os.setxattr(site.dir / "a", "user.a", b"1")) == errno.EOPNOTSUPP
    (site.dir / "a" / "b").unlink()
    assert site.blobs.get("data/a") == b"the file" and site.blobs.names() == ["a"]


HIDDEN = ["d//f", "d//", "d///", "d/./f", "d/../f", "d/.", "d/..", "d/" + "n" * 256, "d/" + "n" * 256 + "/f", "d/" + "中" * 90]


@pytest.mark.parametrize("name", HIDDEN, ids=range(len(HIDDEN)))
def test_names_that_no_file_can_have(site, name):
    site.blobs.put("data/d/shown", b"1")
    raw_put(site, name, b"hidden")
    assert listed(site.dir) == ["d"] and listed(site.dir / "d") == ["shown"]
    assert tree(site.dir) == ["d", "d/shown"]
    # rm does not delete what it does not show.
    done = subprocess.run(["rm", "-r", site.dir / "d"], capture_output=True, text=True)
    assert done.returncode == 1 and "Directory not empty" in done.stderr
    assert set(site.blobs.names()) - {"d"} == {name}
    assert f"holds blobs that cannot be shown, such as '{name}'" in site.mount.log.read_text()
    assert (site.dir / "d").is_dir() and listed(site.dir / "d") == []
    assert raw_get(site, name) == b"hidden"
    raw_delete(site, name)
    os.rmdir(site.dir / "d")
    assert listed(site.dir) == [] and site.blobs.names() == []


@pytest.mark.parametrize("name", ["/f", "//", "/", "/d/f"])
def test_names_that_begin_with_a_slash(site, name):
    raw_put(site, name, b"hidden")
    assert listed(site.dir) == []
    assert errno_of(lambda: os.rmdir(site.dir)) == errno.ENOTEMPTY
    assert site.blobs.names() == [name]


def test_directories_of_a_slash(site):
    site.blobs.put("data/d/", b"")
    assert listed(site.dir) == ["d"] and listed(site.dir / "d") == []
    (site.dir / "d" / "f").write_text("x")
    os.utime(site.dir / "d", ns=(10**18, 10**18))
    assert (site.dir / "d").stat().st_mtime_ns == 10**18
    subprocess.run(["rm", "-r", site.dir / "d"], check=True)
    assert site.blobs.names() == [] == listed(site.dir)
    # With bytes in it, the blob is content that cannot be shown.
    site.blobs.put("data/e/", b"content")
    site.remount()
    assert listed(site.dir / "e") == []
    assert errno_of(lambda: os.rmdir(site.dir / "e")) == errno.ENOTEMPTY
    assert site.blobs.names() == ["e/"]


def test_a_marker_with_content_is_not_deleted(site):
    site.blobs.put("data/d", b"content", x_ms_meta_hdi_isfolder="true")
    assert (site.dir / "d").is_dir()
    assert errno_of(lambda: os.rmdir(site.dir / "d")) == errno.ENOTEMPTY
    assert site.blobs.get("data/d") == b"content"


def test_control_characters(quick):
    site = quick
    for name in ("tab\there", "line\nbreak", "del\x7f"):
        try:
            raw_put(site, name, b"x")
        except urllib.error.HTTPError:
            continue
        assert listed(site.dir) == [name]
        assert (site.dir / name).read_bytes() == b"x"
        (site.dir / name).rename(site.dir / "plain")
        assert (site.dir / "plain").read_bytes() == b"x"
        (site.dir / "plain").unlink()
    assert listed(site.dir) == []


def test_archived_blobs(site):
    site.blobs.put("data/f", b"cold")
    site.blobs.put("data/d/g", b"cold")
    for name in ("f", "d/g"):
        site.blobs.call("PUT", f"data/{name}?comp=tier", x_ms_access_tier="Archive").close()
    path = site.dir / "f"
    assert listed(site.dir) == ["d", "f"] and path.stat().st_size == 4
    assert errno_of(lambda: path.read_bytes()) == errno.EIO
    assert "rehydrate" in site.mount.log.read_text()
    assert os.getxattr(path, "user.adafs.tier") == b"archive"
    assert errno_of(lambda: open(path, "r+b")) == errno.EIO
    assert errno_of(lambda: os.rename(site.dir / "d", site.dir / "e")) == errno.EIO
    assert errno_of(lambda: os.rename(path, site.dir / "g")) == errno.EIO
    assert sorted(site.blobs.names()) == ["d/g", "f"]
    path.write_bytes(b"new")  # replaced whole: nothing of the old one is needed
    assert path.read_bytes() == b"new"
    (site.dir / "d" / "g").unlink()


def test_append_blobs_are_read(site):
    site.blobs.call("PUT", "data/log", b"", x_ms_blob_type="AppendBlob").close()
    site.blobs.call("PUT", "data/log?comp=appendblock", b"one\n").close()
    path = site.dir / "log"
    assert path.read_bytes() == b"one\n" and path.stat().st_mode & 0o777 == 0o444
    for mode in ("a", "w", "r+"):
        assert errno_of(lambda m=mode: open(path, m)) == errno.EPERM
    assert errno_of(lambda: os.truncate(path, 1)) == errno.EPERM
    (site.dir / "f").write_text("x")
    assert errno_of(lambda: os.rename(site.dir / "f", path)) == errno.EPERM
    assert site.blobs.get("data/log") == b"one\n"
    path.rename(site.dir / "old")
    assert (site.dir / "old").read_bytes() == b"one\n"
    (site.dir / "old").unlink()
    assert site.blobs.names() == ["f"]


def test_page_blobs_are_read(gated, gate):
    """The emulator has none: its listing is changed on the way."""
    (gated.path / "containers/other").mkdir()
    (gated.path / "containers/other/disk").write_bytes(b"x" * 512)
    gate.rewrite = lambda method, path, body: body.replace(b"<BlobType>BlockBlob<", b"<BlobType>PageBlob<")
    gated.unmount()
    gated.start()
    path = gated.path / "containers/other/disk"
    assert os.listdir(path.parent) == ["disk"] and path.stat().st_mode & 0o777 == 0o444
    assert path.read_bytes() == b"x" * 512
    assert errno_of(lambda: open(path, "r+")) == errno.EPERM
    path.unlink()


def test_leased_blobs(site):
    site.blobs.put("data/f", b"leased")
    with site.blobs.call("PUT", "data/f?comp=lease", x_ms_lease_action="acquire", x_ms_lease_duration="-1") as reply:
        lease = reply.headers["x-ms-lease-id"]
    path = site.dir / "f"
    assert path.read_bytes() == b"leased"
    assert errno_of(lambda: path.unlink()) == errno.EBUSY
    assert errno_of(lambda: os.rename(path, site.dir / "g")) == errno.EBUSY
    assert errno_of(lambda: os.chmod(path, 0o700)) == errno.EBUSY
    assert errno_of(lambda: path.write_bytes(b"x")) == errno.EBUSY
    assert site.blobs.names() == ["f"] and site.blobs.get("data/f") == b"leased"
    site.blobs.call("PUT", "data/f?comp=lease", x_ms_lease_action="release", x_ms_lease_id=lease).close()
    path.write_bytes(b"free")
    assert site.blobs.get("data/f") == b"free"


def test_snapshots_are_no_files_and_go_with_their_blob(site):
    site.blobs.put("data/f", b"old")
    site.blobs.call("PUT", "data/f?comp=snapshot").close()
    site.blobs.put("data/f", b"new")
    assert listed(site.dir) == ["f"] and (site.dir / "f").read_bytes() == b"new"
    (site.dir / "f").unlink()
    assert listed(site.dir) == [] and site.blobs.names() == []


def raw(site, method, name, body=None, **headers):
    """The name goes into the URL with every special byte escaped, so that nothing on the way tidies it up."""
    quoted = re.sub(r"\.", "%2E", urllib.parse.quote(name, safe=""))
    return site.blobs.call_url(method, f"{site.blobs.url}/data/{quoted}", body, **headers)


def raw_put(site, name, body):
    raw(site, "PUT", name, body, x_ms_blob_type="BlockBlob").close()


def raw_get(site, name):
    with raw(site, "GET", name) as reply:
        return reply.read()


def raw_delete(site, name):
    raw(site, "DELETE", name).close()
