"""Official clients of Azure Batch, unmodified, doing all that they can against the emulator."""
import os
import subprocess
from pathlib import Path

import pytest

from test_sdk import node_modules  # noqa: F401

HERE = Path(__file__).parent


def run(command, emulator, **more):
    done = subprocess.run(command, cwd=HERE, env={**emulator.environment(), **more}, capture_output=True, text=True,
                          timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout


def test_every_method_of_the_javascript_client(node_modules, emulator):  # noqa: F811
    out = run(["node", "batch_sdk.mjs"], emulator)
    assert "ok - all 73 methods of the client were called" in out


def test_the_rest_client_at_a_newer_version(node_modules, emulator):  # noqa: F811
    out = run(["node", "batch_rest.mjs"], emulator)
    assert "ok - 59 operations were used" in out


def test_az_batch(emulator, tmp_path):
    if subprocess.run(["/usr/bin/python3", "-c", "import azure.cli.command_modules.batch"], capture_output=True).returncode:
        pytest.skip("Debian's azure-cli is not installed")
    out = run(["/usr/bin/python3", "az_batch.py", str(tmp_path)], emulator, AZURE_CONFIG_DIR=str(tmp_path / "az"),
              AZURE_CORE_COLLECT_TELEMETRY="no", HOME=os.fspath(tmp_path))
    assert out.count("ok - ") == 7, out
