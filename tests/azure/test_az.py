"""The az command line, unmodified, doing its everyday storage work on the emulator."""
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_az_storage(emulator, tmp_path):
    if subprocess.run(["/usr/bin/python3", "-c", "import azure.cli.command_modules.storage"], capture_output=True).returncode:
        pytest.skip("Debian's azure-cli is not installed")
    env = {**emulator.environment(), "AZURE_CONFIG_DIR": str(tmp_path / "az"), "AZURE_CORE_COLLECT_TELEMETRY": "no",
           "HOME": str(tmp_path)}
    done = subprocess.run(["/usr/bin/python3", "az_blob.py", str(tmp_path)], cwd=HERE, env=env, capture_output=True, text=True,
                          timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.count("ok - ") == 7, done.stdout
