"""rclone itself against the emulator, where it is installed: what people do with it in one go."""
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from blob_client import Client, Emulator  # noqa: E402

# Its emulator mode knows this account only. The key is public, the same in every emulator.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture
def rclone(tmp_path):
    if not shutil.which("rclone"):
        pytest.skip("rclone is not installed")
    e = Emulator(tmp_path / "emulator", "--account", ACCOUNT, "--key", KEY)
    config = tmp_path / "rclone.conf"
    config.write_text("[e]\ntype = azureblob\nuse_emulator = true\naccount = %s\nkey = %s\n"
                      "endpoint = http://%s/%s\n" % (ACCOUNT, KEY, e.host, ACCOUNT))

    def run(*argv):
        r = subprocess.run(["rclone", "--config", config, "--retries", "1", "--low-level-retries", "1", *argv],
                           capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
        return r.stdout
    run.client = Client(e)
    yield run
    e.stop()


def test_rclone(rclone, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "sub folder").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(9_000_000))
    (source / "empty").write_bytes(b"")
    (source / "sub folder" / "a b+c&d=é%.txt").write_text("hello")
    rclone("copy", source, "e:box")
    rclone("check", source, "e:box")
    assert sorted(rclone("lsf", "-R", "e:box").splitlines()) == [
        "big", "empty", "sub folder/", "sub folder/a b+c&d=é%.txt"]
    rclone("copy", "e:box", back)
    assert (back / "big").read_bytes() == (source / "big").read_bytes()
    assert (back / "sub folder" / "a b+c&d=é%.txt").read_text() == "hello"
    rclone("copyto", "e:box/big", "e:box/copy")
    rclone("moveto", "e:box/copy", "e:box/moved")
    rclone("settier", "Cool", "e:box/moved")
    rclone("touch", "e:box/empty")
    assert rclone.client.head("/box/moved")["x-ms-access-tier"] == "Cool"
    assert [line.split()[-1] for line in rclone("lsd", "e:").splitlines()] == ["box"]
    (source / "big").unlink()
    rclone("sync", source, "e:box")
    assert sorted(rclone("lsf", "e:box").splitlines()) == ["empty", "sub folder/"]
    rclone("purge", "e:box")
    assert rclone("lsd", "e:") == ""
