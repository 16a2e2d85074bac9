"""Nodes that enter the container by an identity of their pool: no task holds a SAS, and nothing of it expires."""
import json

import pytest

from harness import batch_call, batch_get, wait_for
from images import tiff

MINE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"


@pytest.fixture
def pool(emulator):
    batch_call(emulator.settings, "POST", "/pools", {
        "id": "own", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1, "taskSlotsPerNode": 4,
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [{"resourceId": MINE}]},
        "virtualMachineConfiguration": {
            "nodeAgentSKUId": "batch.node.debian 12",
            "imageReference": {"publisher": "debian", "offer": "debian-12", "sku": "12"}}})
    return emulator.settings


def mount(make_mount, tmp_path, settings, *options):
    pipeline = tmp_path / "p.json"
    pipeline.write_text(json.dumps({
        "name": "p",
        "steps": [{"name": "look", "command": "wc -c < {image} > size.txt", "outputs": {"size": "size.txt"}},
                  {"name": "tell", "command": "cat {look.size} > report.txt", "outputs": {"o": "report.txt"}, "result": True}],
        "merge": {"command": "cat {parts}/*/report.txt > report.txt", "outputs": {"all": "report.txt"}}}))
    m = make_mount(f"pipeline={pipeline}", "pool=own", "poll=0.2", *options, env=settings).start()
    (m.path / "inbox/flood").mkdir()
    (m.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    return m


def test_no_task_holds_a_sas(make_mount, tmp_path, pool):
    m = mount(make_mount, tmp_path, pool, f"node_identity={MINE}")
    (job,) = m.wait_jobs(1)
    assert m.jobs() == {job: "completed"}
    assert (m.path / "results/flood/report.txt").read_text().strip() == str(len(tiff(1)))
    tasks = batch_get(pool, f"/jobs/{job}/tasks")
    files = [f for t in tasks for f in t["resourceFiles"]] + \
        [f["destination"]["container"] for t in tasks for f in t["outputFiles"]]
    assert len(tasks) == 3 and "sig=" not in json.dumps(tasks)
    assert all(f["identityReference"] == {"resourceId": MINE} for f in files) and len(files) > 10
    assert "ADAFS_EXPIRES" not in json.dumps(tasks)


def test_an_identity_that_the_pool_does_not_have(make_mount, tmp_path, pool):
    m = mount(make_mount, tmp_path, pool, "node_identity=/subscriptions/other")
    wait_for("it says so", lambda: any("pool 'own' does not have the identity '/subscriptions/other': assign it" in
                                       (j / "waiting_for").read_text() for j in (m.path / "jobs").iterdir()), 20)
    assert batch_get(pool, "/jobs") == []


def test_with_an_account_key_the_identity_is_not_used_unasked(make_mount, tmp_path, pool):
    m = mount(make_mount, tmp_path, pool)
    (job,) = m.wait_jobs(1)
    (first, *_) = batch_get(pool, f"/jobs/{job}/tasks")
    assert "sig=" in json.dumps(first) and "identityReference" not in json.dumps(first)
