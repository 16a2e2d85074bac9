"""rclone, unmodified, doing its everyday work on the emulator."""
import os
import random
import shutil
import subprocess

import pytest

from azurite import ACCOUNT, KEY
from harness import Emulator


@pytest.fixture
def rclone(tmp_path):
    """rclone with the emulator as the remote `ada:`."""
    if not shutil.which("rclone"):
        pytest.skip("rclone is not installed")
    # With use_emulator, which alone puts the account into the path, it signs as this account whatever is set.
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--account", ACCOUNT, "--key", KEY)
    e.start()
    config = tmp_path / "rclone.conf"
    config.write_text(f"[ada]\ntype = azureblob\nuse_emulator = true\nendpoint = {e.blob_endpoint()}\n")

    def run(*words, status=0):
        done = subprocess.run(["rclone", "--config", str(config), "--retries", "1", "--low-level-retries", "1", *map(str, words)],
                              capture_output=True, text=True, timeout=90,
                              env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout
    yield run
    e.stop()


@pytest.fixture
def tree(tmp_path):
    """A folder of files of some sizes and names."""
    path = tmp_path / "tree"
    (path / "d" / "e").mkdir(parents=True)
    made = random.Random(2)
    for name, size in (("empty", 0), ("small", 6), ("ü &+%'=;~ .txt", 11), ("d/large", 9_000_001), ("d/e/f", 300)):
        (path / name).write_bytes(made.randbytes(size))
    return path


def test_copy_check_and_back(rclone, tree, tmp_path):
    rclone("mkdir", "ada:box")
    rclone("mkdir", "ada:box")
    rclone("copy", tree, "ada:box/t")
    assert "box" in rclone("lsd", "ada:")
    assert sorted(rclone("lsf", "-R", "--files-only", "ada:box/t").splitlines()) == sorted(
        str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())
    rclone("check", tree, "ada:box/t")
    rclone("check", "--download", tree, "ada:box/t")
    rclone("copy", "ada:box/t", tmp_path / "back")
    assert subprocess.run(["diff", "-r", str(tree), str(tmp_path / "back")]).returncode == 0
    assert (tmp_path / "back" / "d" / "large").stat().st_mtime == pytest.approx((tree / "d" / "large").stat().st_mtime, abs=0.001)


def test_sync_moves_deletes_and_purges(rclone, tree):
    rclone("sync", tree, "ada:sync")
    (tree / "small").unlink()
    (tree / "d" / "e" / "f").write_bytes(b"changed")
    (tree / "new").write_bytes(b"new")
    rclone("sync", tree, "ada:sync")
    assert "small" not in rclone("lsf", "ada:sync").splitlines()
    assert rclone("cat", "ada:sync/d/e/f") == "changed"
    rclone("check", tree, "ada:sync")
    rclone("copyto", "ada:sync/new", "ada:sync/copied")
    rclone("moveto", "ada:sync/copied", "ada:sync/moved")
    assert rclone("cat", "ada:sync/moved") == "new"
    rclone("deletefile", "ada:sync/moved")
    assert "moved" not in rclone("lsf", "ada:sync")
    rclone("delete", "ada:sync/d")
    assert rclone("lsf", "-R", "--files-only", "ada:sync/d") == ""
    rclone("purge", "ada:sync")
    assert "sync" not in rclone("lsd", "ada:")


def test_ranges_streams_tiers_and_what_is_missing(rclone, tree):
    rclone("copy", tree, "ada:ranges")
    (tree / "text").write_bytes(b"0123456789")
    rclone("copy", tree, "ada:ranges")
    assert rclone("cat", "--offset", "2", "--count", "3", "ada:ranges/text") == "234"
    assert '"bytes":9000301' in rclone("size", "--json", "ada:ranges/d")
    rclone("settier", "Cool", "ada:ranges/small")
    assert '"Tier":"Cool"' in rclone("lsjson", "ada:ranges/small")
    rclone("touch", "-t", "2020-01-01T00:00:00", "ada:ranges/small")
    assert "2020-01-01" in rclone("lsl", "ada:ranges/small")
    assert len(rclone("hashsum", "MD5", "ada:ranges").splitlines()) == 6
    rclone("ls", "ada:none", status=3)
