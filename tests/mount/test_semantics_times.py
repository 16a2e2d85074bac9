"""Times, modes, owners and the other figures of stat(2) and statfs(2)."""
import errno
import os
import stat
import subprocess
import time

import pytest

from site_of_blobs import errno_of


def test_times_are_kept_and_left_alone(site):
    path = site.dir / "f"
    path.write_text("x")
    reference = site.dir / "reference"
    reference.write_text("y")
    os.utime(reference, ns=(123, 1_234_567_890_123_456_789))
    subprocess.run(["touch", "-r", reference, path], check=True)
    assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789
    subprocess.run(["touch", "-a", path], check=True)  # UTIME_OMIT
    assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789
    os.utime(path, ns=(-1, -1_500_000_000))
    site.remount()
    assert path.stat().st_mtime_ns == -1_500_000_000
    before = time.time() - 1
    subprocess.run(["touch", path], check=True)  # UTIME_NOW
    assert before < path.stat().st_mtime < time.time() + 1
    path.read_text()
    mtime = path.stat().st_mtime_ns
    os.chmod(path, 0o600)
    path.rename(site.dir / "g")
    assert (site.dir / "g").stat().st_mtime_ns == mtime


def test_a_time_that_it_has_already_costs_nothing(site):
    path = site.dir / "f"
    path.write_text("x")
    os.utime(path, ns=(10**18, 10**18))
    assert site.requests(lambda: os.utime(path, ns=(10**18, 10**18))) == {}
    assert site.requests(lambda: os.chmod(path, 0o644)) == {}
    assert site.requests(lambda: os.chmod(path, 0o755)) == {"SetBlobMetadata": 1}


def test_times_of_blobs_of_others_stay_when_a_mode_is_set(site):
    site.blobs.put("data/f", b"x")
    path = site.dir / "f"
    mtime = path.stat().st_mtime_ns
    time.sleep(1.1)  # Last-Modified counts seconds
    os.chmod(path, 0o755)
    site.remount()
    assert path.stat().st_mtime_ns == mtime and path.stat().st_mode & 0o777 == 0o755


def test_times_of_directories(site):
    (site.dir / "marked").mkdir()
    site.blobs.put("data/virtual/f", b"1")
    for name in ("marked", "virtual"):
        os.utime(site.dir / name, ns=(10**18, 10**18 + 7))
        assert (site.dir / name).stat().st_mtime_ns == 10**18 + 7
    (site.dir / "marked" / "f").write_text("x")
    site.remount()
    for name in ("marked", "virtual"):
        assert (site.dir / name).stat().st_mtime_ns == 10**18 + 7
    os.utime(site.dir)  # a container has none: accepted
    assert sorted(os.listdir(site.dir)) == ["marked", "virtual"]


def test_a_directory_whose_marker_somebody_else_removed_or_changed(site):
    (site.dir / "d").mkdir()
    (site.dir / "d" / "f").write_text("x")
    site.blobs.call("DELETE", "data/d").close()
    os.utime(site.dir / "d", ns=(10**18, 10**18))
    assert site.blobs.meta("data/d")["mtime"].startswith("1000000000")
    site.blobs.put("data/d", b"", x_ms_meta_hdi_isfolder="true", x_ms_meta_event="storm")
    os.chmod(site.dir / "d", 0o700)
    meta = site.blobs.meta("data/d")
    assert meta["mode"] == "40700" and meta["event"] == "storm"
    site.remount()
    assert (site.dir / "d").stat().st_mode & 0o777 == 0o700


def test_modes(site):
    old = os.umask(0o027)
    try:
        with open(os.open(site.dir / "f", os.O_CREAT | os.O_WRONLY, 0o666), "w") as f:
            f.write("x")
        (site.dir / "d").mkdir()
    finally:
        os.umask(old)
    assert (site.dir / "f").stat().st_mode == stat.S_IFREG | 0o640
    assert (site.dir / "d").stat().st_mode == stat.S_IFDIR | 0o750
    os.chmod(site.dir / "f", 0o4751)
    site.remount()
    assert (site.dir / "f").stat().st_mode == stat.S_IFREG | 0o751  # no set-user-ID
    assert site.blobs.meta("data/f")["mode"] == "100751"
    os.chmod(site.dir / "f", 0o644)
    assert "mode" not in site.blobs.meta("data/f")
    for text in ("bad", "", "0100755", "999", "77777777777"):
        site.blobs.put("data/m", b"x", x_ms_meta_mode=text or "-")
        site.remount()
        assert (site.dir / "m").stat().st_mode & 0o777 == (0o755 if text == "0100755" else 0o644)


def test_a_script_is_run(site):
    script = site.dir / "run"
    script.write_text("#!/bin/sh\necho run\n")
    assert errno_of(lambda: subprocess.run([script])) == errno.EACCES
    script.chmod(0o755)
    assert subprocess.run([script], capture_output=True, check=True).stdout == b"run\n"
    site.remount()
    assert subprocess.run([script], capture_output=True, check=True).stdout == b"run\n"


def test_owners_are_accepted_and_not_kept(site):
    (site.dir / "f").write_text("x")
    os.chown(site.dir / "f", 12345, 54321)
    os.chown(site.dir, 12345, 54321)
    assert (site.dir / "f").stat().st_uid == os.getuid() and (site.dir / "f").stat().st_gid == os.getgid()


def test_figures(site):
    (site.dir / "d" / "e").mkdir(parents=True)
    (site.dir / "f").write_bytes(b"x" * 5000)
    assert (site.dir / "f").stat().st_blocks == 10 and (site.dir / "f").stat().st_nlink == 1
    for path in (site.dir, site.dir / "d", site.root, site.mount.path, site.mount.path / "inbox"):
        assert path.stat().st_nlink == 1, path
    fs = os.statvfs(site.dir)
    assert fs.f_namemax == 255 and 0 < fs.f_bavail <= fs.f_bfree <= fs.f_blocks and fs.f_files > 10**9 and fs.f_favail > 10**9
    names = [os.path.relpath(p, site.dir) for p in
             subprocess.run(["find", site.dir], capture_output=True, check=True, text=True).stdout.split()]
    assert sorted(names) == [".", "d", "d/e", "f"]
    entries = {e.name: e.inode() for e in os.scandir(site.dir / "d")}
    assert entries["e"] == (site.dir / "d" / "e").stat().st_ino
    assert os.stat(site.dir / "d" / ".").st_ino == os.stat(site.dir / "d").st_ino == os.stat(site.dir / "d/e/..").st_ino
    du = subprocess.run(["du", "-B1", site.dir / "f"], capture_output=True, check=True).stdout.split()[0]
    assert du == b"5120"


def test_rsync_of_a_tree_twice(site, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "run").write_text("#!/bin/sh\n")
    (tree / "sub" / "run").chmod(0o755)
    (tree / "secret").write_text("s")
    (tree / "secret").chmod(0o600)
    os.symlink("sub/run", tree / "link")
    os.utime(tree / "sub", ns=(10**18, 10**18))
    rsync = ["rsync", "-aX", "--itemize-changes", f"{tree}/", str(site.dir / "tree")]
    try:
        subprocess.run(rsync, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("rsync is not installed: run scripts/setup --tests")
    assert subprocess.run(rsync, check=True, capture_output=True).stdout == b""
    site.remount()
    assert subprocess.run(rsync, check=True, capture_output=True).stdout == b""


def test_elsewhere(site, tmp_path):
    (tmp_path / "tree").mkdir()
    subprocess.run(["cp", "-a", f"{tmp_path}/tree/.", site.mount.path / "inbox/"], check=True)
    os.utime(site.mount.path / "inbox")
    assert errno_of(lambda: os.utime(site.mount.path / "results")) in (errno.EROFS, errno.EPERM)
