"""The official JavaScript clients of Blob and Batch, unmodified, against the emulator."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node_modules():
    """The packages, installed from npm at first use."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: scripts/setup --tests installs it")
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    if not all((HERE / "node_modules" / name).exists() for name in wanted):
        done = subprocess.run(["npm", "install", "--no-package-lock", "--ignore-scripts", "--silent"],
                              cwd=HERE, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip("the npm registry cannot be reached: " + done.stderr.strip()[-300:])
    return HERE / "node_modules"


def test_sdks_do_their_everyday_work(node_modules, emulator):
    done = subprocess.run(["node", "sdk_main_job.mjs"], cwd=HERE, env=emulator.environment(),
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok - ") == 13, done.stdout
