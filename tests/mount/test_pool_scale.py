"""Pools of adafs: made from settings, scaled by a formula that outlives adafs, sized by hand."""
import errno
import json
import subprocess
import urllib.error
from pathlib import Path

import pytest

from gateway import Gate
from harness import Emulator, batch_call, png, program, wait_for

TINY = Path(__file__).parents[1] / "faults" / "tiny.json"
# A nominal minute takes 0.1 s: the formula is looked at each half second.
SPEED = 600
SIZES = "pool_vm_size=STANDARD_A1\\,STANDARD_B2"


@pytest.fixture
def emulator(tmp_path):
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--trap", f"clock_speed={SPEED}").start()
    yield e
    e.stop()


@pytest.fixture
def scaled(make_mount, emulator):
    """Mounts whose pool is made by them."""
    def make(*options, env=None, name="m"):
        settings = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
        return make_mount(f"pipeline={TINY}", "pool=scaled", SIZES, *options,
                          env={**settings, **(env or {})}, name=name)
    return make


def get_pool(emulator, pool="scaled") -> dict:
    return batch_call(emulator.settings, "GET", f"/pools/{pool}")


def nodes(emulator) -> int:
    pool = get_pool(emulator)
    return pool["currentDedicatedNodes"] + pool["currentLowPriorityNodes"]


def copy_image(mount, tmp_path, seed=1) -> None:
    event = mount.path / "inbox" / "flood"
    event.mkdir(exist_ok=True)
    image = png(tmp_path / f"{seed}.png", seed)
    (event / image.name).write_bytes(image.read_bytes())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_killed_after_the_last_task_the_pool_goes_to_zero(scaled, emulator, tmp_path):
    m = scaled("pool_dedicated=1", "pool_spot=2").start()
    for seed in range(3):
        copy_image(m, tmp_path, seed)
    assert set(m.wait_jobs(3).values()) == {"completed"}
    m.kill()
    pool = wait_for("the pool has no node", lambda: (p := get_pool(emulator))["allocationState"] == "steady"
                    and p["currentDedicatedNodes"] + p["currentLowPriorityNodes"] == 0 and p, 60)
    assert pool["targetDedicatedNodes"] == 0 and pool["targetLowPriorityNodes"] == 0
    assert "error" not in pool["autoScaleRun"]
    # It stays there: another look of the formula, and another after it.
    for _ in range(2):
        before = get_pool(emulator)["autoScaleRun"]["timestamp"]
        wait_for("another look", lambda: get_pool(emulator)["autoScaleRun"]["timestamp"] > before, 20)
        assert nodes(emulator) == 0


def test_killed_while_tasks_run_they_end_and_then_the_pool_goes(scaled, emulator, tmp_path):
    m = scaled().start()
    copy_image(m, tmp_path)
    jobs = wait_for("Batch has the job", lambda: [
        j for j in batch_call(emulator.settings, "GET", "/jobs")["value"]
        if j["onAllTasksComplete"] == "terminatejob"], 30)
    m.kill()
    wait_for("the job ends", lambda: batch_call(emulator.settings, "GET", "/jobs/" + jobs[0]["id"])["state"]
             == "completed", 60)
    wait_for("the pool has no node", lambda: nodes(emulator) == 0, 60)


def test_an_empty_pool_gets_a_node_for_a_new_job(scaled, emulator, tmp_path):
    m = scaled().start()
    wait_for("the pool is empty", lambda: nodes(emulator) == 0 and "autoScaleRun" in get_pool(emulator)
             and get_pool(emulator)["targetDedicatedNodes"] == 0, 60)
    copy_image(m, tmp_path)
    assert set(m.wait_jobs(1).values()) == {"completed"}


def test_the_pool_is_made_as_the_settings_say(scaled, emulator):
    env = {"ADAFS_REGISTRY_USER": "puller", "ADAFS_REGISTRY_PASSWORD": "s3cret"}
    m = scaled("pool_dedicated=2", "pool_spot=3", "pool_slots=6",
               "pool_container_image=one.azurecr.io/a:1\\,one.azurecr.io/b:2",
               "pool_registry_server=one.azurecr.io", env=env).start()
    pool = get_pool(emulator)
    assert pool["vmSize"].upper() == "STANDARD_A1" and pool["taskSlotsPerNode"] == 6
    assert pool["enableAutoScale"] and pool["autoScaleEvaluationInterval"] == "PT5M"
    machine = pool["virtualMachineConfiguration"]
    assert machine["imageReference"]["offer"] == "ubuntu-hpc"
    assert machine["nodeAgentSKUId"] == "batch.node.ubuntu 22.04"
    containers = machine["containerConfiguration"]
    assert containers["containerImageNames"] == ["one.azurecr.io/a:1", "one.azurecr.io/b:2"]
    assert containers["containerRegistries"][0]["registryServer"] == "one.azurecr.io"
    state = lines(m.path / "pool/state")
    assert state[0] in ("steady", "resizing") and "slots 6" in state
    assert "scaling with the tasks, from 0 to 2 dedicated and 3 spot nodes" in state
    assert "s3cret" not in m.log.read_text()
    assert "s3cret" not in json.dumps(pool)  # as the service, the emulator shows no password


def test_an_existing_pool_is_used_as_it_is(make_mount, emulator):
    settings = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    before = get_pool(emulator, "local")
    m = make_mount(f"pipeline={TINY}", "pool=local", SIZES, env=settings).start()
    after = get_pool(emulator, "local")
    assert after["vmSize"] == before["vmSize"] and not after["enableAutoScale"]
    assert "scaling fixed: write \"resize N\" to ctl" in lines(m.path / "pool/state")
    (m.path / "pool/ctl").write_text("resize 2\n")
    wait_for("two nodes", lambda: len(list((m.path / "pool/nodes").iterdir())) == 2, 20)
    node = lines(next((m.path / "pool/nodes").iterdir()))
    assert node[0].startswith("state ") and "kind dedicated" in node


def test_resize_writes_a_floor_that_expires(scaled, emulator):
    m = scaled("pool_dedicated=1", "pool_spot=3").start()
    ctl = m.path / "pool/ctl"

    def resize(text: str) -> bool:
        try:
            ctl.write_text(text)
            return True
        except OSError as e:
            assert e.errno in (errno.EAGAIN, errno.EBUSY)
            return False
    wait_for("the pool is empty", lambda: nodes(emulator) == 0 and "autoScaleRun" in get_pool(emulator)
             and get_pool(emulator)["targetDedicatedNodes"] == 0, 60)
    wait_for("the floor is taken", lambda: resize("resize 3 30\n"), 20)
    pool = wait_for("three nodes", lambda: (p := get_pool(emulator))["currentDedicatedNodes"] == 1
                    and p["currentLowPriorityNodes"] == 2 and p, 20)
    assert " floor=3 " in pool["autoScaleFormula"].splitlines()[0]
    # Half an hour is three seconds here.
    wait_for("the floor is over", lambda: nodes(emulator) == 0, 60)
    with pytest.raises(OSError) as refused:
        ctl.write_text("resize 5\n")
    assert refused.value.errno == errno.ERANGE
    for bad in ("resize\n", "resize x\n", "resize 1 x\n", "resize 1 2 3\n", "resize -1\n"):
        with pytest.raises(OSError) as refused:
            ctl.write_text(bad)
        assert refused.value.errno == errno.EINVAL


def test_a_formula_of_others_is_left_alone(make_mount, emulator):
    formula = "$TargetDedicatedNodes = 1 + 0 * avg($MemoryBytes.GetSample(TimeInterval_Minute));"
    batch_call(emulator.settings, "POST", "/pools/local/enableautoscale", {
        "autoScaleFormula": formula, "autoScaleEvaluationInterval": "PT5M"})
    settings = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    m = make_mount(f"pipeline={TINY}", "pool=local", env=settings).start()
    with pytest.raises(OSError) as refused:
        (m.path / "pool/ctl").write_text("resize 2\n")
    assert refused.value.errno == errno.EPERM
    assert get_pool(emulator, "local")["autoScaleFormula"] == formula
    trouble = wait_for("the formula's error", lambda: [s for s in lines(m.path / "pool/state")
                                                       if s.startswith("trouble ")], 20)
    assert "InsufficientSampleData" in trouble[0] and "$MemoryBytes" in trouble[0]
    assert "az batch pool autoscale enable" in trouble[0]


@pytest.mark.parametrize("option, words", [
    ("pool_slots=0", "outside 1 to 256"),
    ("pool_dedicated=1.5", "no whole number"),
    ("pool_image=debian", "PUBLISHER:OFFER:SKU"),
    ("pool_image=debian:debian-12:12", "set pool_node_agent"),
    ("pool_registry_server=one.azurecr.io", "ADAFS_REGISTRY_PASSWORD"),
])
def test_settings_that_do_not_fit(scaled, emulator, option, words):
    m = scaled(option)
    ended = subprocess.run([program(), "-f", "-o", ",".join(m.options), str(m.path)], env=m.env,
                           capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0 and words in ended.stderr
    with pytest.raises(urllib.error.HTTPError):
        get_pool(emulator)


def pipeline_with(tmp_path, **changes) -> Path:
    body = json.loads(TINY.read_text())
    step = changes.pop("step", {})
    body["steps"][0].update(step)
    body.update(changes)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(body))
    return path


def refused_mount(m) -> str:
    ended = subprocess.run([program(), "-f", "-o", ",".join(m.options), str(m.path)], env=m.env,
                           capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
    return ended.stderr


def test_slots_and_images_are_checked_at_mount(make_mount, emulator, tmp_path):
    settings = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    wide = pipeline_with(tmp_path, step={"slots": 100})
    text = refused_mount(make_mount(f"pipeline={wide}", "pool=local", env=settings, name="a"))
    assert "step 'look'" in text and "takes 100 slots" in text
    text = refused_mount(make_mount(f"pipeline={wide}", "pool=new", SIZES, "pool_slots=4", env=settings, name="b"))
    assert "set pool_slots=100" in text
    boxed = pipeline_with(tmp_path, container={"image": "one.azurecr.io/c:3"})
    text = refused_mount(make_mount(f"pipeline={boxed}", "pool=new", SIZES,
                                    "pool_container_image=one.azurecr.io/a:1", env=settings, name="c"))
    assert "set pool_container_image=one.azurecr.io/a:1,one.azurecr.io/c:3" in text


def test_a_size_that_cannot_be_had_makes_way_for_the_next(make_mount, emulator, tmp_path):
    gate = Gate(emulator.settings["AZURE_BATCH_ENDPOINT"])

    def no_first_size(method, path, data):
        """Machines of the first size never come; their pool stands without nodes."""
        if method != "GET" or not path.startswith("/pools/scaled?") or b"STANDARD_A1" not in data:
            return data
        pool = json.loads(data)
        pool.update(allocationState="steady", currentDedicatedNodes=0, currentLowPriorityNodes=0,
                    resizeErrors=[{"code": "AllocationFailed", "message": "Desired number of nodes could not be allocated"}])
        return json.dumps(pool).encode()
    gate.rewrite = no_first_size
    settings = {k: v for k, v in emulator.settings.items() if k.startswith("AZURE_")}
    settings["AZURE_BATCH_ENDPOINT"] = f"http://127.0.0.1:{gate.server_port}"
    try:
        m = make_mount(f"pipeline={TINY}", "pool=scaled", SIZES, "poll=0.05", env=settings).start()
        assert get_pool(emulator)["vmSize"].upper() == "STANDARD_A1"
        assert any("AllocationFailed" in s and "pool_vm_size" in s for s in lines(m.path / "pool/state"))
        # The emulator does have such machines: they take no task.
        for node in batch_call(emulator.settings, "GET", "/pools/scaled/nodes")["value"]:
            batch_call(emulator.settings, "POST", f"/pools/scaled/nodes/{node['id']}/disablescheduling",
                       {"nodeDisableSchedulingOption": "taskcompletion"})
        copy_image(m, tmp_path)
        assert set(m.wait_jobs(1).values()) == {"completed"}
        assert get_pool(emulator)["vmSize"].upper() == "STANDARD_B2"
        assert "made anew of STANDARD_B2" in m.log.read_text()
    finally:
        gate.shutdown()
        gate.server_close()


def test_check_knows_that_a_mount_makes_the_pool(scaled, emulator):
    m = scaled()
    ended = subprocess.run([program(), "check", "-o", ",".join(m.options)], env=m.env,
                           capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stdout
    assert "ok   pool       'scaled' does not exist yet: a mount makes it of STANDARD_A1,STANDARD_B2" in ended.stdout
    with pytest.raises(urllib.error.HTTPError):
        get_pool(emulator)


def test_a_job_says_that_its_pool_was_deleted(make_mount, emulator, tmp_path):
    m = make_mount(f"pipeline={TINY}", "pool=local", "poll=0.05", env=emulator.settings).start()
    batch_call(emulator.settings, "DELETE", "/pools/local")
    copy_image(m, tmp_path)
    job = wait_for("a job", lambda: list((m.path / "jobs").iterdir()), 20)[0]
    wait_for("the sentence", lambda: "it was deleted; make it again" in (job / "waiting_for").read_text(), 40)
