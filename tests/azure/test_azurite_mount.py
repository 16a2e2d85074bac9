"""A mount whose Blob service is Azurite and whose Batch service is the emulator: adafs's own client on a Blob
service that is not its own."""
import hashlib
import os
import random

import pytest

from azurite import KEY, Azurite
from harness import ROOT, png, wait_for

TINY = ROOT / "tests" / "faults" / "tiny.json"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory):
    server = Azurite(tmp_path_factory.mktemp("azurite"))
    yield server
    server.stop()


@pytest.fixture(params=["azurite", "emulator"])
def mount(request, make_mount, emulator):
    """The same mount on each of the two."""
    if request.param == "azurite":
        blob = request.getfixturevalue("azurite")
        storage = {"AZURE_STORAGE_CONNECTION_STRING": blob.connection_string()}
    else:
        blob, storage = emulator, emulator.settings
    batch = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_BATCH")}
    made = make_mount(f"pipeline={TINY}", "pool=local", "poll=0.2", f"container=box-{os.urandom(3).hex()}",
                      env={"AZURE_STORAGE_CONNECTION_STRING": storage["AZURE_STORAGE_CONNECTION_STRING"], **batch})
    return made.start()


def container(mount, name):
    path = mount.path / "containers" / name
    path.mkdir()
    return path


def test_files(mount):
    box = container(mount, "files-" + os.urandom(3).hex())
    data = random.Random(1).randbytes(9 * 1024 * 1024 + 5)
    for name, content in (("empty", b""), ("small ü+%&'.txt", b"hello"), ("large", data)):
        (box / name).write_bytes(content)
        assert (box / name).read_bytes() == content
    with open(box / "large", "rb") as f:
        f.seek(5_000_001)
        assert f.read(1000) == data[5_000_001:5_001_001]
    (box / "large").write_bytes(data[:100])
    assert hashlib.sha256((box / "large").read_bytes()).digest() == hashlib.sha256(data[:100]).digest()
    (box / "d" / "e").mkdir(parents=True)
    for i in range(30):
        (box / "d" / "e" / f"f{i:02}").write_bytes(b"%d" % i)
    assert sorted(p.name for p in (box / "d" / "e").iterdir()) == [f"f{i:02}" for i in range(30)]
    (box / "d" / "e" / "f00").rename(box / "moved")
    assert (box / "moved").read_bytes() == b"0" and not (box / "d" / "e" / "f00").exists()
    (box / "d" / "e" / "f01").unlink()
    assert len(list((box / "d" / "e").iterdir())) == 28
    with pytest.raises(FileNotFoundError):
        (box / "none").read_bytes()
    with pytest.raises(OSError):
        (box / "d" / "e").rmdir()


def test_the_main_job(mount, tmp_path):
    for n in range(3):
        (mount.path / "inbox" / f"i{n}.png").write_bytes(png(tmp_path / f"i{n}.png", n).read_bytes())
    assert set(mount.wait_jobs(3).values()) == {"completed"}
    wait_for("the map", lambda: (mount.path / "results" / "default" / "all.txt").exists(), 30)
    assert len((mount.path / "results" / "default" / "all.txt").read_text().split()) >= 3
    assert KEY not in mount.log.read_text()
