"""Entra ID: each way to a token against an issuer that checks every field, precedence, failures, renewal, and the main
job with bearer tokens and user delegation SAS only."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from harness import ROOT, Emulator, batch_call, batch_get, png, program, shared_data, wait_for

sys.path.insert(0, str(ROOT / "tests" / "azure"))
import issuer as entra  # noqa: E402

TINY = ROOT / "tests" / "faults" / "tiny.json"


@pytest.fixture
def issuer(tmp_path):
    made = entra.Issuer(tmp_path / "issuer")
    yield made
    made.delay.set()
    made.shutdown()
    assert not made.wrong, made.wrong


@pytest.fixture
def refuser(tmp_path, issuer):
    """An emulator that takes the issuer's tokens and refuses Shared Key."""
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--slots", "4",
                 "--issuer", str(issuer.keys_file), "--no-shared-key", "--access-log", str(tmp_path / "access.log"))
    e.start()
    yield e
    e.stop()


def accounts(e, **more):
    """The accounts without a key."""
    parts = dict(p.split("=", 1) for p in e.settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
    return {"AZURE_STORAGE_ACCOUNT": parts["AccountName"], "AZURE_STORAGE_BLOB_ENDPOINT": e.blob_endpoint(),
            "AZURE_BATCH_ACCOUNT": e.settings["AZURE_BATCH_ACCOUNT"],
            "AZURE_BATCH_ENDPOINT": e.settings["AZURE_BATCH_ENDPOINT"], **more}


def check(tmp_path, env, *options):
    """`adafs check`: its exit status and the texts of the two credentials."""
    done = subprocess.run([program(), "check", "-o", ",".join(["pool=local", f"dir={tmp_path / 'check'}", *options])],
                          env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **env}, capture_output=True, text=True,
                          timeout=90)
    print(done.stdout, done.stderr)
    found = [line.split(None, 2) for line in done.stdout.splitlines()]
    for secret in (entra.SECRET, entra.IDENTITY_HEADER, "eyJ"):
        assert secret not in done.stdout + done.stderr
    return done.returncode, [text for _, name, text in found if name == "credential"], found


NOWHERE = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}


# --- each way to a token ----------------------------------------------------------------------

FLOWS = {
    "secret": (lambda i: i.env_secret(), "env", "environment"),
    "certificate": (lambda i: i.env_certificate(), "env", "environment"),
    "workload": (lambda i: i.env_workload(), "workload", "workload identity"),
    "imds": (lambda i: i.env_imds(), "msi", "managed identity"),
    "app service": (lambda i: i.env_app_service(), "msi", "managed identity"),
    "cli": (lambda i: i.env_cli(), "cli", "az command line"),
}


@pytest.mark.parametrize("auth", ["auto", "named"])
@pytest.mark.parametrize("flow", FLOWS)
def test_flow(flow, auth, issuer, refuser, tmp_path):
    env, name, words = FLOWS[flow]
    more = env(issuer)
    if flow == "cli":
        more = {**NOWHERE, **more}
    status, credentials, found = check(tmp_path, accounts(refuser, **more), "auth=" + (name if auth == "named" else "auto"))
    assert len(credentials) == 2 and all(f"Entra ID by {words}, token good for" in c for c in credentials)
    assert sorted(issuer.granted) == sorted([(flow, entra.STORAGE), (flow, entra.BATCH)])
    assert issuer.probes == (2 if flow == "imds" and auth == "auto" else 0)
    assert status == 0, found


def test_a_certificate_with_a_password(issuer, refuser, tmp_path):
    status, credentials, _ = check(tmp_path, accounts(refuser, **issuer.env_certificate("open, sesame")))
    assert status == 0 and issuer.flows() == {"certificate"}


def test_an_old_az_tells_local_time_only(issuer, refuser, tmp_path):
    env = accounts(refuser, **NOWHERE, **issuer.env_cli(old=True), TZ="Asia/Kolkata")
    status, credentials, _ = check(tmp_path, env)
    assert status == 0 and ("good for 59 min" in credentials[0] or "good for 60 min" in credentials[0])


def test_an_assertion_is_made_by_the_clock_of_the_issuer(issuer, refuser, tmp_path):
    """This machine is an hour behind: the first refusal tells so."""
    issuer.ahead = 3600
    status, said, _ = check(tmp_path, accounts(refuser, **issuer.env_certificate()), "auth=env")
    assert status == 0 and all("by environment" in text for text in said), said
    assert issuer.flows() == {"certificate"} and len(issuer.wrong) == 1 and "nbf" in issuer.wrong[0]
    issuer.wrong.clear()


def test_az_is_told_no_secret(issuer, refuser, tmp_path):
    seen = tmp_path / "environment"
    env = issuer.env_cli(after=f"import os\nopen({str(seen)!r}, 'w').write(repr(dict(os.environ)))\n")
    secrets = {name: "secret-of-nobody" for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
                                                     "IDENTITY_HEADER", "ADAFS_REGISTRY_PASSWORD")}
    status, _, _ = check(tmp_path, accounts(refuser, **env, **secrets, AZURE_CONFIG_DIR="kept"), "auth=cli")
    assert status == 0
    assert "secret-of-nobody" not in seen.read_text() and "kept" in seen.read_text()


LEFT_BEHIND = """
import subprocess
sys.stdout.flush()
child = subprocess.Popen(["sleep", "300"])
open(%r, "a").write("%%d\\n" %% child.pid)
"""


def test_what_az_leaves_behind_is_not_waited_for(issuer, refuser, tmp_path):
    """A process that az has started holds its output open."""
    pids = tmp_path / "pids"
    try:
        began = time.monotonic()
        status, said, _ = check(tmp_path, accounts(refuser, **issuer.env_cli(after=LEFT_BEHIND % str(pids))), "auth=cli")
        assert status == 0 and all("az command line" in text for text in said), said
        assert time.monotonic() - began < 25, "no deadline had to pass"
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def has_ended(pid):
    """Gone, or a zombie that waits for whoever adopted it."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_an_az_that_hangs_after_it_closed_its_output_ends_with_the_mount(issuer, refuser, tmp_path):
    """An unmount does not wait for it, and it does not stay behind."""
    pid = tmp_path / "pid"
    env = issuer.env_cli(after=f"import os, signal\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n"
                               "os.close(1)\nos.close(2)\nsignal.pause()\n")
    (tmp_path / "mnt").mkdir()
    process = subprocess.Popen(
        [program(), "-f", "-o", f"auth=cli,pool=local,pipeline={TINY},dir={tmp_path / 'state'}", str(tmp_path / "mnt")],
        env={"HOME": str(tmp_path), **accounts(refuser, **env)}, stderr=subprocess.PIPE, text=True)
    wait_for("az runs", lambda: pid.exists() and pid.read_text())
    assert not has_ended(pid.read_text())
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=50)
    finally:
        process.kill()
    print(err)
    assert time.monotonic() - began < 45
    wait_for("az is ended", lambda: has_ended(pid.read_text()))


@pytest.mark.parametrize("option, name", [("11111111-2222-3333-4444-555555555555", "client_id"),
                                          ("/subscriptions/s/resourcegroups/g/id", "res_id"),
                                          ("object:99999999-2222-3333-4444-555555555555", "object")])
@pytest.mark.parametrize("flow", ["imds", "app service"])
def test_a_managed_identity_by_name(option, name, flow, issuer, refuser, tmp_path):
    names = {"imds": {"client_id": "client_id", "res_id": "msi_res_id", "object": "object_id"},
             "app service": {"client_id": "client_id", "res_id": "mi_res_id", "object": "principal_id"}}
    issuer.identity = {names[flow][name]: option.removeprefix("object:")}
    env = accounts(refuser, **(issuer.env_imds() if flow == "imds" else issuer.env_app_service()))
    status, _, found = check(tmp_path, env, "auth=msi", "identity=" + option)
    assert status == 0, found


def test_the_metadata_service_is_never_asked_through_a_proxy(issuer, refuser, tmp_path):
    env = accounts(refuser, **issuer.env_imds(), http_proxy="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1")
    assert check(tmp_path, env)[0] == 0


# --- precedence -------------------------------------------------------------------------------

def test_precedence(issuer, refuser, tmp_path):
    """As DefaultAzureCredential: what is taken away makes room for the next."""
    everything = {**issuer.env_imds(), **issuer.env_cli(), **issuer.env_workload(), **issuer.env_secret()}
    for flow, gone, words in [("secret", (), ""), ("workload", ("AZURE_CLIENT_SECRET",), "AZURE_CLIENT_SECRET is not set"),
                              ("imds", ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"), "AZURE_TENANT_ID is not set"),
                              ("cli", ("AZURE_POD_IDENTITY_AUTHORITY_HOST",), "no metadata service answers at http://127.0.0.1:1")]:
        for name in gone:
            everything.pop(name)
        if flow == "cli":
            everything |= NOWHERE
        issuer.granted.clear()
        status, credentials, _ = check(tmp_path, accounts(refuser, **everything))
        assert issuer.flows() == {flow} and words in credentials[0] and status == 0


def test_keys_go_before_tokens(issuer, emulator, tmp_path):
    status, credentials, _ = check(tmp_path, {**emulator.settings, **issuer.env_secret()})
    assert status == 0 and not issuer.granted
    assert credentials[0].startswith("the key of storage account") and credentials[1].startswith("the key of Batch")
    _, credentials, _ = check(tmp_path, {**emulator.settings, **issuer.env_secret()}, "auth=env")
    assert {r for _, r in issuer.granted} == {entra.STORAGE, entra.BATCH}
    assert all(c.startswith("Entra ID by environment") for c in credentials)


# --- what is wrong is said --------------------------------------------------------------------

def test_nothing_is_there(refuser, tmp_path):
    env = accounts(refuser, **NOWHERE, PATH=str(tmp_path))
    status, credentials, _ = check(tmp_path, env)
    assert status == 1
    for words in ("environment: AZURE_TENANT_ID is not set", "workload identity: AZURE_FEDERATED_TOKEN_FILE is not set",
                  "managed identity: no metadata service answers", "az command line: no program az is on the PATH"):
        assert words in credentials[0]


def test_a_wrong_secret_is_not_passed_over(issuer, refuser, tmp_path):
    issuer.failures = [(401, {"error": "invalid_client", "error_codes": [7000215], "error_description":
                              "AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2"})] * 9
    status, credentials, _ = check(tmp_path, accounts(refuser, **issuer.env_secret(), **issuer.env_imds()))
    assert status == 1 and not issuer.granted
    assert "Entra ID, environment" in credentials[0] and "AADSTS7000215: Invalid client secret provided." in credentials[0]
    assert "Trace ID" not in credentials[0]


@pytest.mark.parametrize("name", ["AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"])
def test_a_missing_file_of_the_credential_is_no_missing_blob(name, issuer, refuser, tmp_path):
    env = issuer.env_certificate() if "CERT" in name else issuer.env_workload()
    status, said, found = check(tmp_path, accounts(refuser, **{**env, name: "/nowhere"}))
    assert status == 1 and all(name in text and "/nowhere" in text for text in said)
    assert not {"container", "pool", "batch"} & {line[1] for line in found}, "said once for each service"


def test_az_is_signed_out(issuer, refuser, tmp_path):
    env = accounts(refuser, **NOWHERE, **issuer.env_cli(fails="ERROR: Please run 'az login' to setup account."))
    status, credentials, _ = check(tmp_path, env)
    assert status == 1 and "Please run 'az login'" in credentials[0]


def test_no_token_goes_over_plain_http(issuer, tmp_path):
    env = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_BLOB_ENDPOINT": "http://blob.example.org",
           **issuer.env_secret()}
    status, _, found = check(tmp_path, env)
    assert status == 1 and "https only" in str(found) and not issuer.granted


def test_the_metadata_service_is_busy_at_first(issuer, refuser, tmp_path):
    issuer.failures = [(410, {"error": "gone"}), (404, {"error": "not found"}), (503, {"error": "busy"})]
    status, _, found = check(tmp_path, accounts(refuser, **issuer.env_imds()), "auth=msi")
    assert status == 0 and not issuer.failures, found


# --- renewal ----------------------------------------------------------------------------------

@pytest.fixture
def make_entra_mount(make_mount, refuser):
    def make(env, *options):
        return make_mount(f"pipeline={TINY}", "pool=local", "poll=0.2", "log_level=debug", *options,
                          env=accounts(refuser, **env))
    return make


def no_secret_in(mount, issuer):
    log = mount.log.read_text(errors="replace")
    assert "eyJ" not in log and entra.SECRET not in log
    for part in log.split("sig=")[1:]:
        assert part.startswith("REDACTED")


def load(mount, stop, failures, done):
    """Write, list and read a file over and over."""
    folder = mount.path / "containers" / "ada" / "load"
    folder.mkdir(exist_ok=True)
    number = 0
    while not stop.is_set():
        number += 1
        path = folder / f"{threading.get_ident()}-{number % 5}"
        try:
            path.write_bytes(b"%d" % number)
            assert path.read_bytes() == b"%d" % number
            os.listdir(folder)
            done.append(number)
        except OSError as error:
            failures.append(repr(error))


def under_load(mount, until, seconds=60):
    """What went wrong while four threads worked until something was seen."""
    stop, failures, done = threading.Event(), [], []
    threads = [threading.Thread(target=load, args=(mount, stop, failures, done)) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        wait_for("renewals under load", lambda: until() or failures, seconds)
    finally:
        stop.set()
        for t in threads:
            t.join(30)
    assert done
    return failures


def test_renewal_under_load(issuer, make_entra_mount):
    """Tokens live for six seconds: each is renewed after three, once, while the old one serves on."""
    issuer.lifetime = 6
    began = time.monotonic()
    mount = make_entra_mount(issuer.env_secret()).start()
    storage = lambda: [g for g in issuer.granted if g[1] == entra.STORAGE]  # noqa: E731
    failures = under_load(mount, lambda: len(storage()) >= 5)
    assert not failures
    assert len(storage()) <= 2 + (time.monotonic() - began) / 3, "each token is asked for once"
    assert "reply 401" not in mount.log.read_text()
    no_secret_in(mount, issuer)


def test_who_gave_the_first_token_gives_all(issuer, make_entra_mount):
    """The chain is walked once: renewals neither look for the metadata service nor pass it over."""
    issuer.lifetime = 4
    mount = make_entra_mount({**issuer.env_imds(), **issuer.env_cli()}).start()
    assert not under_load(mount, lambda: issuer.granted.count(("imds", entra.STORAGE)) >= 3)
    assert issuer.probes == 2 and issuer.flows() == {"imds"}


def test_the_old_token_serves_while_renewal_fails(issuer, make_entra_mount):
    issuer.lifetime = 20
    mount = make_entra_mount(issuer.env_secret()).start()
    before = len(issuer.granted)
    issuer.failures = [(400, {"error": "temporarily_unavailable", "error_description": "AADSTS1: later"})] * 2
    failures = under_load(mount, lambda: len(issuer.granted) > before and not issuer.failures)
    assert not failures
    assert "AADSTS1: later" in mount.log.read_text()


def test_a_token_that_the_service_refuses_is_renewed_once(issuer, make_entra_mount):
    """The issuer says that tokens live for an hour, and they do not: 401 makes a new one, and requests succeed."""
    issuer.lifetime, issuer.told_lifetime = 4, 3600
    mount = make_entra_mount(issuer.env_secret()).start()
    failures = under_load(mount, lambda: len([g for g in issuer.granted if g[1] == entra.STORAGE]) >= 4)
    assert not failures
    no_secret_in(mount, issuer)


def test_a_busy_issuer_is_waited_for(issuer, make_entra_mount):
    """Without a token left, requests wait for an issuer that answers 503, and none fails."""
    issuer.lifetime = 4
    mount = make_entra_mount(issuer.env_secret()).start()
    issuer.failures = [(503, {"error": "temporarily_unavailable", "error_description": "AADSTS90033: busy"})] * 12
    failures = under_load(mount, lambda: not issuer.failures, 90)
    assert not failures


def test_a_mount_says_what_is_wrong_with_its_credential(issuer, refuser, tmp_path):
    (tmp_path / "mnt").mkdir()
    issuer.failures = [(401, {"error": "invalid_client", "error_description": "AADSTS7000222: expired."})] * 9
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **accounts(refuser, **issuer.env_secret())}
    done = subprocess.run([program(), "-f", "-o", f"pool=local,dir={tmp_path / 'state'}", str(tmp_path / "mnt")], env=env,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 32 and "Entra ID, environment: 401 invalid_client: AADSTS7000222: expired." in done.stderr


def test_the_federated_token_rotates(issuer, make_entra_mount):
    issuer.lifetime = 4
    env = issuer.env_workload()
    mount = make_entra_mount(env).start()
    issuer.federated = "eyJhbGciOiJSUzI1NiJ9.second.signature"
    with open(env["AZURE_FEDERATED_TOKEN_FILE"], "w") as file:
        file.write(issuer.federated)
    before = len(issuer.granted)
    assert not under_load(mount, lambda: len(issuer.granted) >= before + 3)


def test_requests_wait_for_a_slow_issuer_no_longer_than_io_timeout(issuer, make_entra_mount):
    issuer.lifetime = 4
    mount = make_entra_mount(issuer.env_secret(), "io_timeout=3").start()
    issuer.delay.clear()
    folder = mount.path / "containers" / "ada"

    def fails():
        began = time.monotonic()
        try:
            (folder / "probe").write_bytes(b"x")
        except OSError:
            assert time.monotonic() - began < 6
            return True
        return False
    wait_for("the token runs out", fails, 30)
    issuer.delay.set()
    wait_for("it goes on", lambda: not fails(), 90)


# --- the main job -----------------------------------------------------------------------------

@pytest.mark.parametrize("flow", ["secret", "imds"])
def test_the_main_job_without_any_key(flow, issuer, refuser, make_entra_mount, tmp_path):
    mount = make_entra_mount(issuer.env_secret() if flow == "secret" else issuer.env_imds()).start()
    (mount.path / "inbox" / "flood").mkdir(exist_ok=True)
    for n in range(3):
        (mount.path / "inbox" / "flood" / f"i{n}.png").write_bytes(png(tmp_path / f"{n}.png", n).read_bytes())
    assert set(mount.wait_jobs(3).values()) == {"completed"}
    results = mount.path / "results" / "flood"
    wait_for("the merged map", lambda: (results / "all.txt").exists() and
             len((results / "all.txt").read_text().split()) == 3, 60)
    status = json.loads((mount.path / "status.json").read_text())
    assert status["credentials"]["blob"].startswith("Entra ID by ")
    counters = refuser.counters()
    assert counters.get("GetUserDelegationKey") == 1, counters
    assert not any(name in counters for name in ("GetContainerACL", "SetContainerACL")), counters
    # Tasks hold user delegation SAS and nothing else.
    no_secret_in(mount, issuer)
    assert "SharedKey" not in mount.log.read_text()


def test_quicklook_without_any_key(issuer, refuser, make_mount, tmp_path):
    """The shipped pipeline on a real image; results are read by user delegation SAS."""
    data = shared_data()
    mount = make_mount("pool=local", "poll=0.2", "log_level=debug", env=accounts(refuser, **issuer.env_secret())).start()
    shutil.copyfile(data / "RGB.byte.tif", mount.path / "inbox" / "RGB.byte.tif")
    assert set(mount.wait_jobs(1, 90).values()) <= {"completed", "empty"}
    results = mount.path / "results" / "default"
    wait_for("the map", lambda: (results / "buildings.geojson").exists(), 30)
    assert json.loads((results / "buildings.geojson").read_text())["type"] == "FeatureCollection"
    no_secret_in(mount, issuer)
    reads = [line for line in (tmp_path / "access.log").read_text().splitlines() if "/merged/" in line and "buildings.geojson" in line]
    assert reads and all("skoid=" in line for line in reads), reads


def test_nodes_with_an_identity_need_no_sas(issuer, make_mount, tmp_path):
    """With Entra ID a SAS lives for a week at most; what the nodes do by an identity of their pool has no end."""
    mine = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--issuer", str(issuer.keys_file))
    e.start()
    try:
        batch_call(e.settings, "POST", "/pools", {
            "id": "own", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": [{"resourceId": mine}]},
            "virtualMachineConfiguration": {"nodeAgentSKUId": "batch.node.debian 12", "imageReference": {
                "publisher": "debian", "offer": "debian-12", "sku": "12"}}})
        mount = make_mount(f"pipeline={TINY}", "pool=own", "poll=0.2", "log_level=debug",
                           env=accounts(e, **issuer.env_secret())).start()
        (mount.path / "inbox" / "a.png").write_bytes(png(tmp_path / "a.png", 1).read_bytes())
        jobs = mount.wait_jobs(1)
        assert set(jobs.values()) == {"completed"}
        tasks = json.dumps(batch_get(e.settings, f"/jobs/{list(jobs)[0]}/tasks"))
        assert "sig=" not in tasks and mine in tasks
        mount.unmount()
    finally:
        e.stop()


def test_a_step_does_not_start_when_the_user_delegation_sas_ends_too_soon(issuer, make_entra_mount, tmp_path):
    """No such SAS outlives seven days: a step that may take eight ends as 77, and a retry is what helps."""
    slow = json.loads(TINY.read_text())
    slow["defaults"] = {"time_limit": "P8D"}
    path = tmp_path / "slow.json"
    path.write_text(json.dumps(slow))
    mount = make_entra_mount(issuer.env_secret(), f"pipeline={path}").start()
    (mount.path / "inbox" / "a.png").write_bytes(png(tmp_path / "a.png", 1).read_bytes())
    url = os.getxattr(mount.path / "inbox" / "a.png", "user.adafs.url").decode()
    assert "skoid=" in url and "sp=r&" in url
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert reply.read() == (tmp_path / "a.png").read_bytes()
    assert set(mount.wait_jobs(1).values()) == {"failed"}
    job = next((mount.path / "jobs").iterdir())
    step = next(s for s in (job / "steps").iterdir() if s.name.startswith("01-look"))
    assert (step / "exit_code").read_text().strip() == "77"
    assert "a retry submits it anew" in (job / "waiting_for").read_text()


def test_a_daemon_has_its_own_token(issuer, refuser, tmp_path):
    """The thread that fetches tokens starts after the fork."""
    (tmp_path / "mnt").mkdir()
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **accounts(refuser, **issuer.env_secret())}
    done = subprocess.run([program(), "-o", f"pool=local,pipeline={TINY},dir={tmp_path / 'state'}", str(tmp_path / "mnt")],
                          env=env, capture_output=True, text=True, timeout=60)
    try:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "mnt" / "containers" / "ada").is_dir()
    finally:
        subprocess.run(["fusermount3", "-u", str(tmp_path / "mnt")], timeout=20)


def test_shared_key_is_refused(refuser, tmp_path):
    status, _, found = check(tmp_path, refuser.settings)
    assert status == 1 and "KeyBasedAuthenticationNotPermitted" in str(found)
