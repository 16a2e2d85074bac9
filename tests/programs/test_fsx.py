"""Random operations of one program on one file, every byte compared: tests/programs/fsx.c on containers/."""
import os
import subprocess
from pathlib import Path

import pytest

from harness import program

# Operations a seed. The full exercise, which takes minutes, is ADAFS_TEST_FSX=1000000.
OPERATIONS = int(os.environ.get("ADAFS_TEST_FSX", "4000"))


@pytest.fixture(scope="module")
def fsx():
    """Built beside the program."""
    path = Path(program()).parent / "tests" / "fsx"
    if not path.is_file():
        pytest.skip(f"{path} is not built: run scripts/test, or cmake with ADAFS_TESTS=ON")
    return path


@pytest.fixture
def folder(make_mount):
    path = make_mount().start().path / "containers" / "fsx"
    path.mkdir()
    return path


@pytest.mark.parametrize("seed, size, close_every", [
    (1, 256 * 1024, 50),        # one block: every commit is a Put Blob
    (2, 9_000_000, 200),        # several blocks: commits are block lists, and blocks go up early
    (3, 5_000, 10),             # less than a few pages, closed all the time
])
def test_every_byte_is_as_written(fsx, folder, seed, size, close_every):
    steps = OPERATIONS if size < 1_000_000 else OPERATIONS // 8
    done = subprocess.run([fsx, folder / "file", str(seed), str(steps), str(size), str(close_every)],
                          capture_output=True, text=True, timeout=max(300, OPERATIONS // 100))
    assert done.returncode == 0, done.stderr
    assert os.listdir(folder) == []
