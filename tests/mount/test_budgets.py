"""Requests as the emulator counts them, held against the budgets of the design."""
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from harness import batch_call, png, wait_for

TINY = Path(__file__).parents[1] / "faults" / "tiny.json"
MIB = 1024 * 1024
SUBMIT = {"SnapshotBlob": 1, "AddJob": 1, "AddTaskCollection": 1, "PatchJob": 1}
POLLS = {"ListJobs", "ListTasks", "GetJob", "GetPool", "ListNodes"}


@pytest.fixture
def mount(make_mount, emulator):
    """A mount whose pool has no nodes: every request that is counted comes from the mount."""
    batch_call(emulator.settings, "POST", "/pools", {
        "id": "asleep", "vmSize": "STANDARD_D2S_V3", "targetDedicatedNodes": 0,
        "virtualMachineConfiguration": {"imageReference": {"publisher": "canonical", "offer": "jammy", "sku": "22"},
                                        "nodeAgentSKUId": "batch.node.ubuntu 22.04"}})
    env = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    m = make_mount(f"pipeline={TINY}", "pool=asleep", "attr_timeout=60", f"block_size={MIB}", env=env)
    return m.start()


class Requests:
    """Requests between entering and `wanted` being there, without polls."""

    def __init__(self, emulator):
        self.emulator = emulator

    def __enter__(self):
        self.before = self.emulator.counters()
        return self

    def __exit__(self, *_):
        self.made = self.now()

    def now(self) -> dict[str, int]:
        after = self.emulator.counters()
        return {k: n - self.before.get(k, 0) for k, n in after.items()
                if n != self.before.get(k, 0) and k not in POLLS}

    def until(self, wanted: dict[str, int]) -> None:
        wait_for(f"{wanted} (seen: {self.now()})", lambda: all(self.now().get(k, 0) >= n for k, n in wanted.items()), 20)


def cp_into_inbox(mount, emulator, source, writes):
    inbox = mount.path / "inbox" / "flood"
    inbox.mkdir()
    os.listdir(inbox)
    with Requests(emulator) as r:
        subprocess.run(["cp", str(source), str(inbox) + "/"], check=True, timeout=60)
        r.until({**SUBMIT, **writes})
    assert r.made == {**SUBMIT, **writes}


def test_an_image_of_one_block_costs_three_and_three(mount, emulator, tmp_path):
    cp_into_inbox(mount, emulator, png(tmp_path / "small.png", 1), {"PutBlob": 2})  # image, manifest


def test_an_image_of_n_blocks_costs_n_and_one_instead(mount, emulator, tmp_path):
    source = png(tmp_path / "large.png", 2, side=2100)
    blocks = -(-source.stat().st_size // MIB)
    assert blocks == 5
    cp_into_inbox(mount, emulator, source, {"PutBlock": blocks, "PutBlockList": 1, "PutBlob": 1})


@pytest.fixture
def many(mount, emulator):
    """A directory of 120 files, written by somebody else than the mount."""
    folder = mount.path / "containers" / "ada" / "many"
    folder.mkdir()
    for i in range(120):
        (folder / f"f{i:03}.txt").write_bytes(b"x" * i)
    mount.unmount()
    mount.start()
    return folder


def test_a_cold_listing_costs_one_a_page_and_a_warm_one_nothing(many, emulator):
    os.listdir(many.parent)
    with Requests(emulator) as r:
        listed = subprocess.run(["ls", "-l", str(many)], check=True, capture_output=True, text=True, timeout=60)
    assert listed.stdout.count(".txt") == 120
    assert r.made == {"ListBlobs": 1}
    with Requests(emulator) as r:
        subprocess.run(["ls", "-l", str(many)], check=True, capture_output=True, timeout=60)
        assert (many / "f007.txt").stat().st_size == 7
        assert not (many / "none.txt").exists()
    assert r.made == {}


def test_a_file_read_once_costs_its_blocks_and_read_again_nothing(mount, emulator):
    path = mount.path / "containers" / "ada" / "data.bin"
    content = os.urandom(3 * MIB + 5)
    path.write_bytes(content)
    mount.unmount()
    mount.start()
    os.listdir(path.parent)
    with Requests(emulator) as r:
        assert path.read_bytes() == content
    assert set(r.made) == {"GetBlob"} and r.made["GetBlob"] <= 4, r.made
    with Requests(emulator) as r:
        assert path.read_bytes() == content
    assert r.made == {}


def test_a_small_file_costs_one_request(mount, emulator):
    folder = mount.path / "containers" / "ada" / "out"
    folder.mkdir()
    os.listdir(folder)
    with Requests(emulator) as r:
        for i in range(20):
            (folder / f"f{i}").write_bytes(b"x" * 100_000)
            assert (folder / f"f{i}").stat().st_size == 100_000
    assert r.made == {"PutBlob": 20}


def test_blocks_go_up_while_the_file_is_written(mount, emulator):
    folder = mount.path / "containers" / "ada" / "out"
    folder.mkdir()
    os.listdir(folder)
    with Requests(emulator) as r:
        with open(folder / "large", "wb", buffering=0) as f:
            for i in range(9):
                f.write(bytes([i]) * MIB)
            # Each block behind the writer; the last one only when it is known that the file ends there.
            r.until({"PutBlock": 8})
            f.write(b"end")
        r.until({"PutBlockList": 1})
    assert r.made == {"PutBlock": 10, "PutBlockList": 1}


def test_a_sparse_file_takes_no_space_for_its_holes(mount, emulator):
    folder = mount.path / "containers" / "ada" / "out"
    folder.mkdir()
    os.listdir(folder)
    before = os.statvfs(mount.path)
    with open(folder / "sparse", "wb") as f:
        f.seek(40 * MIB)
        f.write(b"end")
        f.flush()
        free = before.f_bavail - os.statvfs(mount.path).f_bavail
        assert free * before.f_frsize < MIB
    assert (folder / "sparse").stat().st_size == 40 * MIB + 3
    assert (folder / "sparse").read_bytes() == bytes(40 * MIB) + b"end"


def test_md5_of_all_files_where_it_is_asked_for(make_mount, emulator):
    env = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_STORAGE")}
    m = make_mount(f"block_size={MIB}", "md5=on", env=env, name="md5").start()
    data = bytes(range(256)) * 10_000
    folder = m.path / "containers" / "sums"
    folder.mkdir()
    for name, size in {"large": len(data), "small": 1000}.items():
        (folder / name).write_bytes(data[:size])
    with open(folder / "large", "r+b") as f:
        f.write(b"changed")
    m.unmount()
    m.start()
    want = {"large": b"changed" + data[7:], "small": data[:1000]}
    for name, content in want.items():
        assert os.getxattr(folder / name, "user.adafs.md5").decode() == hashlib.md5(content).hexdigest(), name
