"""Container tasks in podman, with an image made here: nothing is fetched."""
import os
import shutil
import subprocess
import tarfile

import pytest

from batch_sign import Batch, sh
from harness import Emulator, program

IMAGE = "localhost/adafs-test:1"
# Without these a container cannot be made in a container, where tests often run.
CONF = '[engine]\nruntime = "%s"\n[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """The environment in which podman runs the image, or a skip that says why it does not."""
    busybox = shutil.which("busybox")
    if not shutil.which("podman") or not busybox:
        pytest.skip("podman or busybox is not installed: apt-get install podman busybox-static")
    here = tmp_path_factory.mktemp("podman")
    conf = here / "containers.conf"
    conf.write_text(CONF % (shutil.which("runc") or "crun"))
    tar = here / "image.tar"
    with tarfile.open(tar, "w") as t:
        t.add(busybox, "bin/busybox")
        for name in ("sh", "env", "id", "cat", "pwd", "sleep", "touch", "echo"):
            link = tarfile.TarInfo("bin/" + name)
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            t.addfile(link)
    env = {**os.environ, "CONTAINERS_CONF": str(conf)}
    subprocess.run(["podman", "import", str(tar), IMAGE], env=env, capture_output=True, timeout=120)
    tried = subprocess.run(["podman", "run", "--rm", "--network=host", IMAGE, "/bin/echo", "works"], env=env,
                           capture_output=True, text=True, timeout=120)
    if "works" not in tried.stdout:
        pytest.skip("podman cannot run a container here: " + tried.stderr.strip()[-200:])
    return {"CONTAINERS_CONF": str(conf)}


@pytest.fixture
def batch(podman, tmp_path, monkeypatch):
    monkeypatch.setenv("CONTAINERS_CONF", podman["CONTAINERS_CONF"])
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--slots", "2",
                 "--containers").start()
    client = Batch(e.settings)
    client.job("j")
    yield client
    e.stop()


def left():
    names = subprocess.run(["podman", "ps", "-a", "--format", "{{.Names}}"], capture_output=True, text=True, timeout=30)
    return [n for n in names.stdout.split() if n.startswith("adafs-")]


def run(batch, task_id, script, image=IMAGE, settings=None, **more):
    batch.add("j", sh(task_id, script, containerSettings={"imageName": image, **(settings or {})}, **more))
    return batch.wait_task("j", task_id, seconds=60)


def test_a_command_runs_in_the_image(batch):
    t = run(batch, "t", "pwd; echo $AZ_BATCH_TASK_ID $COLOUR; echo made > out; test ! -e /etc/debian_version",
            environmentSettings=[{"name": "COLOUR", "value": "dark\ngreen"}])
    info = t["executionInfo"]
    assert info["exitCode"] == 0 and info["result"] == "success", info
    assert len(info["containerInfo"]["containerId"]) == 64 and info["containerInfo"]["state"] == "exited"
    text = batch.file("j", "t", "stdout.txt")
    assert text.endswith("/t/wd\nt dark green\n")
    assert batch.file("j", "t", "wd/out") == "made\n"
    assert left() == []


def test_its_exit_code_is_the_tasks(batch):
    info = run(batch, "t", "echo no >&2; exit 7")["executionInfo"]
    assert info["exitCode"] == 7 and info["failureInfo"]["code"] == "FailureExitCode"
    assert batch.file("j", "t", "stderr.txt") == "no\n"


def test_retries_are_new_containers(batch):
    info = run(batch, "t", "test -e again || { touch again; exit 1; }",
               constraints={"maxTaskRetryCount": 1})["executionInfo"]
    assert info["exitCode"] == 0 and info["retryCount"] == 1


def test_options_and_working_directory(batch):
    t = run(batch, "t", "pwd; cat /proc/self/mounts", settings={
        "containerRunOptions": "--tmpfs /scratch --workdir /bin", "workingDirectory": "containerImageDefault"})
    assert t["executionInfo"]["exitCode"] == 0
    text = batch.file("j", "t", "stdout.txt")
    assert text.startswith("/bin\n") and " /scratch tmpfs " in text


def test_an_image_that_is_nowhere(batch):
    info = run(batch, "t", "true", image="localhost/adafs-none:1")["executionInfo"]
    assert "exitCode" not in info and info["failureInfo"]["code"] == "ContainerInvalidImage"
    assert info["failureInfo"]["category"] == "UserError"


def test_a_time_limit_ends_the_container(batch):
    info = run(batch, "t", "sleep 100", constraints={"maxWallClockTime": "PT2S"})["executionInfo"]
    assert info["failureInfo"]["code"] == "TaskEnded"
    batch.wait("no container is left", lambda: not left(), 20)


def test_a_terminated_task_leaves_no_container(batch):
    batch.add("j", sh("t", "touch started; sleep 100", containerSettings={"imageName": IMAGE}))
    batch.wait_task("j", "t", "running")
    batch.wait("it runs", lambda: batch.call("HEAD", "/jobs/j/tasks/t/files/wd%2Fstarted").status == 200, 30)
    batch.ok("POST", "/jobs/j/tasks/t/terminate", status=204)
    assert batch.wait_task("j", "t")["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    batch.wait("no container is left", lambda: not left(), 20)


def test_a_plain_task_runs_on_this_machine(batch):
    batch.add("j", sh("t", "test -e /etc/debian_version || test -e /etc/os-release"))
    info = batch.wait_task("j", "t")["executionInfo"]
    assert info["exitCode"] == 0 and "containerInfo" not in info


def test_without_an_engine_it_says_what_to_install(tmp_path):
    done = subprocess.run([program(), "emulator", "--containers", "--dir", str(tmp_path), "--blob", "127.0.0.1:0",
                           "--batch", "127.0.0.1:0"], env={"PATH": "/nowhere"}, capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 1 and "install podman" in done.stderr
