"""Cases 25 to 33: services that refuse, hang, lie, run out of quota, or lose what they had."""
import errno
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from acts import ends, in_batch, map_of, named, one_job, run
from harness import ROOT, Emulator, batch_call, program, trap, wait_for
from images import gate, tiff, write_pipeline
from site_of_blobs import Blobs, batch_pool, errno_of

sys.path.insert(0, str(ROOT / "tests" / "emulator"))
from azure_sign import service_sas  # noqa: E402

MIB = 1 << 20


def pipeline(tmp_path, first="true"):
    return f"pipeline={write_pipeline(tmp_path / 'tiny.json', first)}"


def copy(m, n, event="flood", first=0):
    (m.path / "inbox" / event).mkdir(exist_ok=True)
    for i in range(first, n):
        (m.path / "inbox" / event / f"i{i}.tif").write_bytes(tiff(i))


def all_complete_once(m, n, event="flood"):
    jobs = m.wait_jobs(n, 60)
    assert set(jobs.values()) == {"completed"} and len(jobs) == n
    assert in_batch(m) == sorted(jobs)
    wait_for("the map is whole", lambda: map_of(m, event) == sorted(str(len(tiff(i))) for i in range(n)), 30)


def mount_fails(m, want=32) -> str:
    """Mounting ends with this status and nothing is mounted: what it says."""
    done = subprocess.run([program(), "-o", ",".join(m.options), str(m.path)], env=m.env, capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == want if want else done.returncode > 0, done.stderr
    assert not os.path.ismount(m.path)
    return done.stderr


def moved(settings, old, new):
    """Settings of the services at another address."""
    return {k: v.replace(old, new) for k, v in settings.items() if k.startswith("AZURE_")}


# --- 25: refused at mount ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status, code, words", [
    (403, "AuthorizationFailure", "Networking"), (403, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor"),
    (403, "KeyBasedAuthenticationNotPermitted", "Entra ID"), (401, "InvalidAuthenticationInfo", "tenant")],
    ids=["firewall", "missing role", "keys disabled", "wrong tenant"])
def test_case_25_a_service_that_lets_nobody_in(emulator, make_gate, make_mount, status, code, words):
    """25: a firewall, a missing role, disabled keys, another tenant: each has words of its own, status 32, no mount."""
    g = make_gate(emulator.blob_endpoint())
    g.refused, g.refusal = ("*", ""), (status, code)
    m = make_mount("pool=local", "io_timeout=5", env=moved(emulator.settings, g.service, f"127.0.0.1:{g.server_port}"))
    said = mount_fails(m)
    assert code in said and words in said, said


@pytest.mark.parametrize("service", ["storage", "batch"])
def test_case_25_a_wrong_key(emulator, make_mount, service):
    """25: the key of the storage or of the Batch account is wrong: the message names which, and not the key."""
    env, wrong = moved(emulator.settings, "", ""), "d3Jvbmcga2V5IHdyb25nIGtleQ=="
    if service == "storage":
        key = dict(p.split("=", 1) for p in env["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)["AccountKey"]
        env["AZURE_STORAGE_CONNECTION_STRING"] = env["AZURE_STORAGE_CONNECTION_STRING"].replace(key, wrong)
    else:
        env["AZURE_BATCH_ACCESS_KEY"] = wrong
    said = mount_fails(make_mount("pool=local", env=env))
    assert "AuthenticationFailed" in said and wrong not in said and "check" in said, said


def sas_of(emulator, rights, end="2099-01-01T00:00:00Z"):
    """The settings of somebody who has a SAS of the container, and the key of Batch."""
    account = Blobs(emulator)
    account.call("PUT", "ada?restype=container", b"").close()
    return {**{k: v for k, v in emulator.settings.items() if k.startswith("AZURE_BATCH")},
            "AZURE_STORAGE_ACCOUNT": account.account, "AZURE_STORAGE_BLOB_ENDPOINT": account.url,
            "AZURE_STORAGE_SAS_TOKEN": service_sas(account.account, account.key, "ada", sp=rights, se=end)}


@pytest.mark.parametrize("rights, words", [("racwd", "lacks l (list)"), ("racdl", "lacks w (write)")])
def test_case_25_a_sas_without_a_right(emulator, make_mount, rights, words):
    """25: a SAS that may not list or write: refused before anything is mounted, with the right that is missing."""
    assert words in mount_fails(make_mount("pool=local", env=sas_of(emulator, rights)), want=None)


def test_case_25_the_status_of_a_sas_without_a_right(emulator, make_mount):
    """25: a credential that will not do is status 32, wherever that is found out."""
    mount_fails(make_mount("pool=local", env=sas_of(emulator, "racwd")))


# --- 26: refused while it is mounted ------------------------------------------------------------------------


def test_case_26_a_credential_that_is_refused_for_a_while(gated):
    """26: 403 mid-run: reads and commits say EACCES; when the right is back all goes on, without a new mount."""
    kept = gated.path / "containers/ada/kept"
    kept.write_bytes(b"kept" * MIB)
    f = open(gated.path / "inbox/flood/i0.tif", "wb", buffering=0)
    f.write(tiff(0))
    gated.blob.refused = ("*", "")
    assert errno_of(kept.read_bytes) == errno.EACCES
    second = os.dup(f.fileno())
    assert errno_of(lambda: os.close(second)) == errno.EACCES
    assert (gated.path / "status.json").read_text() and os.listdir(gated.path / "jobs") == []
    gated.blob.refused = None
    f.close()  # the bytes are still there: another close stores them
    all_complete_once(gated, 1)
    assert kept.read_bytes() == b"kept" * MIB


def test_case_26_batch_refuses_for_a_while(gated):
    """26: Batch says 403: a committed image waits and says for what, and runs without another copy."""
    gated.batch.refused, gated.batch.refusal = ("POST", "/jobs"), (403, "AuthorizationFailure")
    copy(gated, 1)
    job = one_job(gated, "flood-i0")
    wait_for("it says why it waits", lambda: "AuthorizationFailure" in (job / "waiting_for").read_text(), 20)
    assert (job / "state").read_text() == "queued\n"
    gated.batch.refused = None
    all_complete_once(gated, 1)


def test_case_26_a_sas_that_ends(emulator, make_mount, tmp_path):
    """26: the SAS of a mount has ended: EACCES, no crash, and what is cached still lists."""
    env = sas_of(emulator, "racwdl", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)))
    batch_pool(emulator)
    m = make_mount(pipeline(tmp_path), "pool=asleep", "attr_timeout=60", env=env).start()
    (m.path / "containers/ada/f").write_bytes(b"f" * MIB)
    assert os.listdir(m.path / "jobs") == []
    trap(emulator, sas_clock=7200)
    assert errno_of((m.path / "containers/ada/f").read_bytes) == errno.EACCES
    assert errno_of(lambda: (m.path / "containers/ada/g").write_bytes(b"g")) == errno.EACCES
    assert os.listdir(m.path / "jobs") == [] and m.alive()
    trap(emulator)
    wait_for("it is read again", lambda: (m.path / "containers/ada/f").read_bytes() == b"f" * MIB, 20)


# --- 27: clocks ------------------------------------------------------------------------------------------


def test_case_27_a_clock_that_is_off(emulator, make_gate, make_mount, tmp_path):
    """27: a clock half an hour off: check names the difference, and a mount still works by the service's clock."""
    g = make_gate(emulator.blob_endpoint())
    g.ahead = 1800
    m = make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", env=moved(emulator.settings, g.service, f"127.0.0.1:{g.server_port}"))
    done = subprocess.run([program(), "check", "-o", ",".join(m.options)], env=m.env, capture_output=True, text=True, timeout=60)
    clock = [line for line in done.stdout.splitlines() if " clock " in line]
    assert any("behind" in line and ("1800 s" in line or "1799 s" in line) for line in clock), done.stdout


def test_case_27_a_laptop_that_sleeps(emulator, make_mount, tmp_path):
    """27: suspended while the service restarts: dead connections are made again, and no job comes twice."""
    m = make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", "attr_timeout=0", env=emulator.settings).start()
    copy(m, 1)
    m.wait_jobs(1)
    m.process.send_signal(signal.SIGSTOP)
    emulator.stop()
    emulator.options = ("--slots", "4")  # on the ports that it had
    emulator.start()
    m.process.send_signal(signal.SIGCONT)
    assert (m.path / "containers/ada/images/flood/i0.tif").read_bytes() == tiff(0)
    copy(m, 2, first=1)
    all_complete_once(m, 2)


# --- 28: networks -----------------------------------------------------------------------------------------


def test_case_28_a_host_that_has_no_address(emulator, make_mount):
    """28: a name that DNS does not know: said within the bounds, with the name, and nothing is mounted."""
    env = moved(emulator.settings, emulator.blob_endpoint().split("/")[2], "blob.nowhere.invalid:10000")
    begun = time.monotonic()
    said = mount_fails(make_mount("io_timeout=3", "pool=local", env=env))
    assert "blob.nowhere.invalid" in said and time.monotonic() - begun < 20, said


def test_case_28_the_network_goes_and_comes_back(emulator, make_mount, tmp_path):
    """28: no service for a while: reads fail in time, jobs/ still lists, and all goes on afterwards."""
    m = make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", "attr_timeout=0", "io_timeout=2", env=emulator.settings).start()
    copy(m, 1)
    m.wait_jobs(1)
    (m.path / "containers/ada/f").write_bytes(b"f" * MIB)
    emulator.kill()
    begun = time.monotonic()
    assert errno_of((m.path / "containers/ada/f").read_bytes) in (errno.ETIMEDOUT, errno.EIO, errno.EHOSTDOWN, errno.EHOSTUNREACH)
    assert time.monotonic() - begun < 3 and len(os.listdir(m.path / "jobs")) == 1
    emulator.options = ("--slots", "4")
    emulator.start()

    def back():
        try:
            return (m.path / "containers/ada/f").read_bytes() == b"f" * MIB
        except OSError:
            return False
    wait_for("the file is read again", back, 20)
    copy(m, 2, first=1)
    all_complete_once(m, 2)


PAGE = b"<html><body>Welcome! Please sign in.</body></html>"


@pytest.fixture
def portal(gated):
    """The mount, whose services are hidden behind a portal once portal.on() was called."""
    def turn(page):
        gated.blob.portal = gated.batch.portal = page
    gated.on, gated.off = lambda: turn(PAGE), lambda: turn(None)
    yield gated
    gated.off()


def test_case_28_what_is_read_behind_an_access_point(emulator, portal):
    """28: a portal answers 200 with its page to all: it is never data nor a directory, and is forgotten afterwards."""
    data = os.urandom(6 * MIB)
    Blobs(emulator).put("ada/f", data)
    with open(portal.path / "containers/ada/f", "rb", buffering=0) as reader:
        portal.on()
        assert errno_of(lambda: os.pread(reader.fileno(), 1000, 5 * MIB)) in (errno.EIO, errno.EPROTO)
        assert errno_of(lambda: os.listdir(portal.path / "inbox/flood")) in (errno.EIO, errno.EPROTO)
        portal.off()
    assert (portal.path / "containers/ada/f").read_bytes() == data and os.listdir(portal.path / "inbox/flood") == []
    copy(portal, 1)
    all_complete_once(portal, 1)


def test_case_28_what_is_written_behind_an_access_point(portal):
    """28: a 200 of a portal is no 201 of the service: close says that the bytes are not stored."""
    with open(portal.path / "inbox/flood/i0.tif", "wb", buffering=0) as writer:
        writer.write(tiff(0))
        portal.on()
        second = os.dup(writer.fileno())
        assert errno_of(lambda: os.close(second)) in (errno.EIO, errno.EPROTO)
        portal.off()
    all_complete_once(portal, 1)


def test_case_28_what_is_submitted_behind_an_access_point(portal):
    """28: a portal in place of Batch: a committed image still gets its job when the portal is gone."""
    portal.batch.portal = PAGE
    copy(portal, 1)
    seen = portal.batch.n_refused
    wait_for("it was tried", lambda: portal.batch.n_refused >= seen + 5, 20)
    portal.off()
    all_complete_once(portal, 1)


def test_case_28_the_containers_behind_an_access_point(portal):
    """28: the portal's page is no list of containers: an error, not an account without any."""
    portal.on()
    try:
        assert "ada" in os.listdir(portal.path / "containers")
    except OSError as e:
        assert e.errno in (errno.EIO, errno.EPROTO)


def test_case_28_a_proxy_that_opens_tls(emulator, make_gate, make_mount, tmp_path):
    """28: the certificate is of somebody else: nothing is sent, and the hint is about certificates."""
    pem = tmp_path / "other.pem"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=proxy", "-addext",
        "subjectAltName=IP:127.0.0.1", "-keyout", pem.with_suffix(".key"), "-out", pem)
    pem.write_text(pem.read_text() + pem.with_suffix(".key").read_text())
    g = make_gate(emulator.blob_endpoint(), str(pem))
    env = moved(emulator.settings, "http://" + g.service, f"https://127.0.0.1:{g.server_port}")
    env = {k: v.replace("DefaultEndpointsProtocol=http;", "DefaultEndpointsProtocol=https;") for k, v in env.items()}
    said = mount_fails(make_mount("pool=local", "io_timeout=3", env=env))
    assert "ca-certificates" in said, said


# --- 29: busy services, lost replies ------------------------------------------------------------------------


def test_case_29_busy_services(emulator, make_mount, tmp_path):
    """29: an eighth of all requests get 429 or 503 with Retry-After: every image has one job, which completes."""
    m = make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", env=emulator.settings).start()
    (m.path / "inbox/flood").mkdir()
    trap(emulator, busy_rate=0.125, retry_after=1)
    copy(m, 2)
    m.wait_jobs(2, 60)
    assert emulator.counters().get("Busy", 0) > 0
    trap(emulator)
    all_complete_once(m, 2)


def test_case_29_errors_of_the_service(gated):
    """29: 500 for a while during a copy: cp waits and succeeds."""
    gated.blob.refused, gated.blob.refusal = ("PUT", "/images/flood/i0.tif"), (500, "InternalError")
    (gated.directory / "i0.tif").write_bytes(tiff(0))
    cp = subprocess.Popen(["cp", str(gated.directory / "i0.tif"), str(gated.path / "inbox/flood/")])
    wait_for("it is tried again", lambda: gated.blob.n_refused >= 2, 20)
    assert cp.poll() is None
    gated.blob.refused = None
    assert cp.wait(30) == 0
    all_complete_once(gated, 1)


@pytest.mark.parametrize("service, lost", [("blob", ("PUT", "/images/flood/i0.tif")), ("batch", ("POST", "/jobs?")),
                                           ("batch", ("POST", "/addtaskcollection")), ("blob", ("PUT", "/jobs/flood-i0"))],
                         ids=["commit", "job", "tasks", "manifest"])
def test_case_29_a_reply_that_is_lost(gated, service, lost):
    """29: the service acted and its reply was lost: what it did is found, and nothing is there twice."""
    getattr(gated, service).lost = lost
    copy(gated, 1)
    all_complete_once(gated, 1)
    assert getattr(gated, service).lost is None


# --- 30, 31: quotas, ids -------------------------------------------------------------------------------------


def test_case_30_the_quota_of_jobs(emulator, make_mount, tmp_path):
    """30: Batch takes one job at a time: the others say what they wait for and go on by themselves."""
    trap(emulator, job_quota=1)
    m = make_mount(pipeline(tmp_path, gate(tmp_path / "open")), "pool=local", "poll=0.1", env=emulator.settings).start()
    copy(m, 3)
    wait_for("two jobs say that they wait for quota", lambda: sum(
        "ActiveJobAndScheduleQuotaReached" in (j / "waiting_for").read_text() for j in (m.path / "jobs").iterdir()) == 2, 30)
    (tmp_path / "open").touch()
    all_complete_once(m, 3)


def test_case_30_the_quota_of_cores(emulator, make_mount, tmp_path):
    """30: no core is left for a pool: the job says which quota, and where to ask for more; then it runs."""
    trap(emulator, core_quota=1)  # the node of the pool that is there from the start takes it
    m = make_mount(pipeline(tmp_path), "pool=new", "pool_vm_size=STANDARD_A1", "poll=0.1", env=emulator.settings).start()
    copy(m, 1)
    job = one_job(m, "flood-i0")
    sentence = wait_for("the sentence", lambda: "quota" in (s := (job / "waiting_for").read_text()) and s, 20)
    assert "AccountCoreQuotaReached" in sentence and "ask for more" in sentence and "portal" in sentence
    assert (job / "state").read_text() == "queued\n"


def test_case_31_a_job_id_that_somebody_else_has(emulator, make_mount, tmp_path):
    """31: the same image in another container of the Batch account: its job gets another suffix, both complete."""
    one, two = (make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", f"container={name}", env=emulator.settings, name=name)
                for name in ("ada", "other"))
    ids = []
    for m in (one, two):
        m.start()
        copy(m, 1)
        ids.append(ends(one_job(m, "flood-i0"), "completed").name)
    assert ids[0] == ids[1] and in_batch(one) == [ids[0], ids[0] + "-r2"]
    wait_for("a map each", lambda: map_of(one) == map_of(two) == [str(len(tiff(0)))], 20)


# --- 32: deleted by somebody else -----------------------------------------------------------------------------


def test_case_32_the_container_is_deleted(emulator, make_mount, tmp_path):
    """32: the container goes under the mount: ENOENT or EIO, no crash, and the log names it."""
    batch_pool(emulator)
    m = make_mount(pipeline(tmp_path), "pool=asleep", "attr_timeout=0", "poll=0.1", env=emulator.settings).start()
    (m.path / "containers/ada/f").write_bytes(b"f" * MIB)
    Blobs(emulator).call("DELETE", "ada?restype=container").close()
    assert errno_of((m.path / "containers/ada/f").read_bytes) in (errno.ENOENT, errno.EIO)
    assert errno_of(lambda: (m.path / "inbox/a.tif").write_bytes(tiff(1))) in (errno.ENOENT, errno.EIO)
    assert "ContainerNotFound" in m.log.read_text()
    assert m.alive() and os.listdir(m.path / "jobs") == [] and (m.path / "status.json").read_text()


@pytest.mark.parametrize("how", ["copy", "retry"])
def test_case_32_a_job_is_deleted(emulator, make_mount, tmp_path, how):
    """32: a job is deleted in the portal: failed, said so; a retry, or another copy of the image, runs it again."""
    m = make_mount(pipeline(tmp_path, gate(tmp_path / "open")), "pool=local", "poll=0.1", env=emulator.settings).start()
    copy(m, 1)
    job = one_job(m, "flood-i0")
    wait_for("its first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n", 30)
    m.process.send_signal(signal.SIGSTOP)  # it is gone between two looks; what comes of a look amid it is the next test
    batch_call(emulator.settings, "DELETE", f"/jobs/{job.name}")
    wait_for("it is gone", lambda: in_batch(m) == [], 30)
    m.process.send_signal(signal.SIGCONT)
    ends(job, "failed")
    assert "deleted outside adafs" in (job / "waiting_for").read_text()
    (tmp_path / "open").touch()
    assert "retry\n" in (job / "ctl").read_text()
    if how == "retry":
        (job / "ctl").write_text("retry\n")
    else:
        copy(m, 1)
    wait_for("it runs again", lambda: (job / "state").read_text() == "completed\n", 60)
    assert in_batch(m) == [job.name + "-r2"]


def test_case_32_a_job_that_is_being_deleted(emulator, make_gate, make_mount, tmp_path):
    """32: a look at a job while the service deletes it, which takes minutes there: it ends as failed all the same."""
    g = make_gate(emulator.settings["AZURE_BATCH_ENDPOINT"])
    m = make_mount(pipeline(tmp_path, gate(tmp_path / "open")), "pool=local", "poll=0.1",
                   env=moved(emulator.settings, g.service, f"127.0.0.1:{g.server_port}")).start()
    copy(m, 1)
    job = one_job(m, "flood-i0")
    wait_for("its first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n", 30)
    looks = []

    def deleting(method, path, data):
        if method == "GET" and path.startswith("/jobs?"):
            looks.append(path)
            return data.replace(b'"state":"active"', b'"state":"deleting"')
        return data
    g.rewrite = deleting
    wait_for("it was looked at", lambda: len(looks) >= 3 or (job / "state").read_text() != "running\n", 20)
    m.process.send_signal(signal.SIGSTOP)
    batch_call(emulator.settings, "DELETE", f"/jobs/{job.name}")
    wait_for("it is gone", lambda: in_batch(m) == [], 30)
    g.rewrite = None
    m.process.send_signal(signal.SIGCONT)
    (tmp_path / "open").touch()
    ends(job, "failed")


def test_case_32_the_pool_is_deleted(emulator, make_mount, tmp_path):
    """32: the pool is deleted: a queued job says so and what to do."""
    m = make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", env=emulator.settings).start()
    batch_call(emulator.settings, "DELETE", "/pools/local")
    copy(m, 1)
    job = one_job(m, "flood-i0")
    wait_for("the sentence", lambda: "it was deleted; make it again" in (job / "waiting_for").read_text(), 40)


# --- 33: nodes ------------------------------------------------------------------------------------------------


def test_case_33_every_task_loses_its_node_once(emulator, make_mount, tmp_path):
    """33: nodes are preempted while tasks run: these run again, count as no failure, and complete."""
    trap(emulator, preempt_every=1, allocation_delay=0.2)
    m = make_mount(pipeline(tmp_path), "pool=local", "poll=0.1", env=emulator.settings).start()
    copy(m, 2)
    all_complete_once(m, 2)
    requeued = {t["id"]: t["executionInfo"]["requeueCount"] for job in in_batch(m)
                for t in batch_call(emulator.settings, "GET", f"/jobs/{job}/tasks")["value"]}
    assert all(n >= 1 for n in requeued.values()), requeued


def test_case_33_a_start_task_that_fails(emulator, make_mount, tmp_path):
    """33: the start task of the pool fails: the job says that nodes cannot run it, the node why; mended it runs."""
    batch_call(emulator.settings, "POST", "/pools", {
        "id": "broken", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1,
        "startTask": {"commandLine": f"test -e {shlex.quote(str(tmp_path / 'mended'))}", "waitForSuccess": True, "maxTaskRetryCount": 0},
        "virtualMachineConfiguration": {"nodeAgentSKUId": "batch.node.debian 12",
                                        "imageReference": {"publisher": "debian", "offer": "debian-12", "sku": "12"}}})
    m = make_mount(pipeline(tmp_path), "pool=broken", "poll=0.1", env=emulator.settings).start()
    copy(m, 1)
    job = one_job(m, "flood-i0")
    wait_for("the job says it", lambda: "cannot run tasks" in (job / "waiting_for").read_text(), 30)
    [node] = (m.path / "pool/nodes").iterdir()
    assert "start task failed" in node.read_text()
    (tmp_path / "mended").touch()
    batch_call(emulator.settings, "POST", f"/pools/broken/nodes/{node.name}/reboot", {})
    all_complete_once(m, 1)


def test_case_33_a_container_image_that_cannot_be_pulled(make_mount, tmp_path, monkeypatch):
    """33: the registry refuses the image of the pipeline: the step fails and names the image's trouble."""
    (tmp_path / "bin").mkdir()
    podman = tmp_path / "bin/podman"
    podman.write_text("#!/bin/sh\necho 'Error: initializing source: manifest unknown' >&2\nexit 125\n")
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{podman.parent}:{os.environ['PATH']}")
    path = write_pipeline(tmp_path / "boxed.json")
    path.write_text(path.read_text().replace('{"name": "tiny",', '{"name": "tiny", "container": {"image": "one.azurecr.io/none:1"},'))
    emulator = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--containers").start()
    try:
        batch_call(emulator.settings, "POST", "/pools", {
            "id": "boxes", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1,
            "virtualMachineConfiguration": {"nodeAgentSKUId": "batch.node.debian 12",
                                            "containerConfiguration": {"type": "dockerCompatible"},
                                            "imageReference": {"publisher": "debian", "offer": "debian-12", "sku": "12"}}})
        m = make_mount(f"pipeline={path}", "pool=boxes", "poll=0.1", env=emulator.settings).start()
        copy(m, 1)
        job = ends(one_job(m, "flood-i0"), "failed")
        assert "container image" in (job / "steps/look/failure").read_text()
        assert (m.path / "inbox/flood/i0.tif").exists() and named(m, "flood-i0") == [job]
        m.unmount()
    finally:
        emulator.stop()
