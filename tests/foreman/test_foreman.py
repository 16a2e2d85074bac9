"""The foreman against the real emulator: exactly one job an image, whatever is killed when."""
import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from email.utils import formatdate
from pathlib import Path

import pytest

from harness import ROOT, SANITIZER_WORDS, program, wait_for

CONTAINER = "ada"
CRASH_POINTS = ["after-commit", "after-snapshot", "after-job", "after-half-tasks", "before-patch",
                "after-patch", "before-manifest"]

TINY = {"name": "tiny",
        "steps": [
            {"name": "look", "command": "wc -c < {image} > size.txt", "outputs": {"size": "size.txt"}},
            {"name": "tell", "command": "cat {look.size} > report.txt",
             "outputs": {"report": "report.txt"}, "result": True}],
        "merge": {"command": "cat {parts}/*/report.txt > all.txt", "outputs": {"all": "all.txt"},
                  "when_empty": {"all": ""}}}
PAIR = {"name": "pair",
        "inputs": {"pre": {"match": "pre-event/*"}, "post": {"match": "post-event/*"}},
        "steps": [{"name": "join", "command": "cat {pre} {post} > both.txt",
                   "outputs": {"both": "both.txt"}, "result": True}],
        "merge": {"command": "cat {parts}/*/both.txt > all.txt", "outputs": {"all": "all.txt"},
                  "when_empty": {"all": ""}}}


def with_command(command: str, **more) -> dict:
    """TINY with another first step."""
    pipeline = json.loads(json.dumps(TINY))
    pipeline["steps"][0].update({"command": command, **more})
    return pipeline


class Services:
    """Just enough of both protocols to look at what the foreman left, and to meddle."""

    def __init__(self, settings: dict[str, str]):
        parts = dict(p.split("=", 1) for p in
                     settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.account, self.key = parts["AccountName"], parts["AccountKey"]
        self.blob = parts["BlobEndpoint"].rstrip("/")
        self.batch = settings["AZURE_BATCH_ENDPOINT"].rstrip("/")
        self.batch_account = settings["AZURE_BATCH_ACCOUNT"]
        self.batch_key = settings["AZURE_BATCH_ACCESS_KEY"]

    @staticmethod
    def _send(method, url, headers, body=None):
        rq = urllib.request.Request(url, method=method, headers=headers, data=body)
        with urllib.request.urlopen(rq, timeout=20) as reply:
            return reply.read()

    def _authorize(self, account, key, prefix, method, url, headers, length=""):
        headers[f"{prefix}date"] = formatdate(usegmt=True)
        path = urllib.parse.urlsplit(url)
        query = sorted(urllib.parse.parse_qsl(path.query))
        lines = [method, "", "", length, "", headers.get("Content-Type", ""), "", "", "", "", "", ""]
        lines += [f"{k}:{v}" for k, v in sorted(headers.items()) if k.startswith(prefix)]
        lines += ["/" + account + path.path + "".join(f"\n{k}:{v}" for k, v in query)]
        mac = hmac.new(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(mac).decode()}"
        return headers

    def blobs(self, prefix: str, include: str = "metadata") -> dict[str, dict[str, str]]:
        """Metadata by blob name (and snapshot)."""
        query = urllib.parse.urlencode({"comp": "list", "include": include, "prefix": prefix,
                                        "restype": "container"}, safe="/")
        url = f"{self.blob}/{CONTAINER}?{query}"
        headers = self._authorize(self.account, self.key, "x-ms-", "GET", url,
                                  {"x-ms-version": "2021-12-02"})
        found = {}
        for blob in ElementTree.fromstring(self._send("GET", url, headers)).iter("Blob"):
            meta = {e.tag.lower(): e.text or "" for e in blob.find("Metadata") or []}
            found[blob.findtext("Name") + (blob.findtext("Snapshot") or "")] = meta
        return found

    def batch_call(self, method: str, path: str, **query: str):
        query["api-version"] = "2022-10-01.16.0"
        url = f"{self.batch}{path}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
        length = "0" if method == "POST" else ""
        headers = {"Content-Length": "0", "Content-Type": "application/json"} if length else {}
        headers = self._authorize(self.batch_account, self.batch_key, "ocp-", method, url, headers,
                                  length)
        body = self._send(method, url, headers, b"" if length else None)
        return json.loads(body) if body else None

    def jobs(self) -> list[str]:
        return sorted(j["id"] for j in self.batch_call("GET", "/jobs")["value"])

    def tasks(self, job: str) -> dict[str, dict]:
        return {t["id"]: t for t in self.batch_call("GET", f"/jobs/{job}/tasks")["value"]}

    def gone(self, job: str) -> bool:
        try:
            self.batch_call("GET", f"/jobs/{job}")
        except urllib.error.HTTPError as error:
            return error.code == 404
        return False


class Driver:
    """A foreman in a process of its own."""

    def __init__(self, directory: Path, environment: dict[str, str], pipeline: dict, pool="local"):
        binary = Path(os.environ.get("FOREMAN_DRIVER",
                                     Path(program()).parent / "tests" / "foreman_driver"))
        if not binary.exists():
            pytest.skip(f"{binary} is not built")
        self.file = directory / f"{pipeline['name']}-{hashlib.sha256(json.dumps(pipeline).encode()).hexdigest()[:8]}.json"
        self.file.write_text(json.dumps(pipeline))
        self.argv = [str(binary), CONTAINER, str(self.file), pool]
        self.environment = environment
        self.log = directory / "driver.log"
        self.process: subprocess.Popen | None = None

    def start(self, **env: str) -> "Driver":
        self.process = subprocess.Popen(self.argv, env={**self.environment, **env}, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(self.log, "ab"))
        answer = self.read()
        assert answer == {"started": True}, answer
        return self

    def read(self):
        line = self.process.stdout.readline()
        assert line, f"the foreman died: {self.log.read_text(errors='replace')[-3000:]}"
        return json.loads(line)

    def do(self, *words: object):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.read()

    def put(self, path: Path, blob: str) -> str:
        answer = self.do("put", path, blob)
        assert "etag" in answer, answer
        return answer["etag"]

    def settle(self, seconds: float = 60) -> dict[str, dict]:
        """Jobs by id once all have ended."""
        view = self.do("wait", seconds)
        jobs = {j["id"]: j for j in view["jobs"]}
        assert view["loaded"], view
        assert all(j["state"] not in ("queued", "running") for j in jobs.values()), view
        return jobs

    def view(self) -> dict:
        return self.do("view")

    def until(self, what: str, probe, seconds: float = 30):
        return wait_for(what, lambda: probe(self.view()), seconds)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
            self.process.wait(40)
            assert self.process.returncode == 0, self.log.read_text(errors="replace")[-3000:]

    def died(self) -> None:
        assert self.process.wait(30) == -9


@pytest.fixture
def services(emulator):
    return Services(emulator.settings)


@pytest.fixture
def driver(emulator, tmp_path):
    """Makes foremen on one emulator; all are stopped and their logs looked through."""
    made = []

    def make(pipeline=TINY, **options):
        made.append(Driver(tmp_path, emulator.environment(), pipeline, **options))
        return made[-1]

    yield make
    for d in made:
        d.stop()
    log = tmp_path / "driver.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    for word in SANITIZER_WORDS:
        assert word not in text, text[-6000:]
    for secret in (emulator.settings["AZURE_BATCH_ACCESS_KEY"],):
        assert secret not in text


@pytest.fixture
def image(tmp_path):
    def make(name="a.tif", content="content"):
        path = tmp_path / name
        path.write_text(content)
        return path
    return make


def one(jobs: dict[str, dict]) -> dict:
    assert len(jobs) == 1, list(jobs)
    return next(iter(jobs.values()))


def counters(services: Services) -> dict[str, int]:
    """Requests by operation of both services."""
    total: dict[str, int] = {}
    for endpoint in (services.blob, services.batch):
        host = "/".join(endpoint.split("/")[:3])
        with urllib.request.urlopen(host + "/adafs/counters", timeout=10) as reply:
            for name, n in json.load(reply)["operations"].items():
                total[name] = total.get(name, 0) + n
    return total


def used_since(services: Services, before: dict[str, int]) -> dict[str, int]:
    return {k: v - before.get(k, 0) for k, v in counters(services).items() if v != before.get(k, 0)}


def restart(emulator) -> None:
    """On the ports that it had: queued tasks hold URLs with them."""
    emulator.options = ("--slots", "4")
    emulator.start()


def states(job: dict) -> dict[str, str]:
    return {s["task"]: s["state"] for s in job["steps"]}


def test_one_image(driver, services, emulator, image):
    d = driver().start()
    before = counters(services)
    d.put(image(), "images/flood/a.tif")
    job = one(d.settle())
    assert job["state"] == "completed", job
    assert set(states(job).values()) == {"completed"}
    assert job["images"] == ["images/flood/a.tif"] and job["newest"] is True
    assert "job completed" in job["events"]
    assert services.jobs() == [job["id"]]
    used = used_since(services, before)
    for name in ("SnapshotBlob", "AddJob", "AddTaskCollection", "PatchJob"):
        assert used[name] == 1, used
    for name in used:
        assert name.startswith(("List", "PutBlob", "GetBlob", "SnapshotBlob", "Add", "PatchJob", "GetPool")), used

    results = d.do("results", "flood")
    assert results["all.txt"] > 0 and "summary.json" in results, results
    assert f"{job['id']}/report.txt" in results and not any("part.json" in r for r in results)
    assert d.do("events") == ["flood"]
    # What the view shows is written down right after.
    manifest = wait_for("the manifest says so", lambda: (m := services.blobs("jobs/")[f"jobs/{job['id']}.json"])
                        and m["adafsstate"] == "completed" and m, 20)
    assert manifest["adafsended"] != "0"
    assert d.view()["inbox"] == {}

    # A second client without any state shows the same and asks Batch for nothing but the pool.
    before = counters(services)
    again = one(driver().start().settle())
    assert {k: v for k, v in again.items()} == {k: v for k, v in job.items()}
    used = used_since(services, before)
    assert not any("task" in k.lower() or k.lower().startswith("job") for k in used), used


def test_quiet_when_all_ended(driver, image):
    d = driver().start()
    d.put(image(), "images/flood/a.tif")
    d.settle()
    d.until("the manifest is final", lambda v: all(j["state"] == "completed" for j in v["jobs"]))
    wait_for("the last write is done", lambda: d.do("stats") == (time.sleep(0.3), d.do("stats"))[1])
    before = d.do("stats")
    time.sleep(1.5)  # the absence of requests can only be seen by waiting
    assert d.do("stats") == before
    d.do("nudge")
    time.sleep(0.5)
    assert d.do("stats") == before


def test_same_image_again(driver, services, image):
    d = driver().start()
    d.put(image(), "images/flood/a.tif")
    d.settle()
    d.put(image(), "images/flood/a.tif")
    d.settle()
    d.stop()
    assert len(driver().start().settle()) == 1
    assert len(services.jobs()) == 1


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_crash(driver, services, image, point):
    d = driver().start(ADAFS_CRASH_AT=point)
    d.put(image(), "images/flood/a.tif")
    d.died()
    job = one(driver().start().settle())
    assert job["state"] == "completed", job
    assert services.jobs() == [job["batch"]] == [job["id"]]
    assert len(services.tasks(job["id"])) == 3
    assert len(services.blobs("jobs/")) == 1


@pytest.mark.parametrize("point", ["after-commit", "after-job", "after-half-tasks", "before-manifest"])
def test_crash_and_two_mounts(driver, services, image, point):
    """Two others find the torn submission at the same time."""
    d = driver().start(ADAFS_CRASH_AT=point)
    d.put(image(), "images/flood/a.tif")
    d.died()
    first, second = driver().start(), driver().start()
    a, b = one(first.settle()), one(second.settle())
    assert a["state"] == b["state"] == "completed"
    assert a["batch"] == b["batch"]
    assert services.jobs() == [a["id"]]
    assert len(services.blobs("jobs/")) == 1


def test_dead_id(driver, services, image):
    """A job that was ended before its tasks were in takes no more: the next run does the work."""
    d = driver().start(ADAFS_CRASH_AT="after-job")
    d.put(image(), "images/flood/a.tif")
    d.died()
    (dead,) = services.jobs()
    services.batch_call("POST", f"/jobs/{dead}/terminate")
    wait_for("the job has ended",
             lambda: services.batch_call("GET", f"/jobs/{dead}")["state"] == "completed")
    job = one(driver().start().settle())
    assert job["state"] == "completed" and job["batch"] == dead + "-r2"
    assert services.tasks(dead) == {}


def test_finished_before_manifest(driver, services, image):
    """All was done but the manifest, and the job ends with no client alive."""
    d = driver().start(ADAFS_CRASH_AT="after-patch")
    d.put(image(), "images/flood/a.tif")
    d.died()
    (job_id,) = services.jobs()
    wait_for("the job ends by itself",
             lambda: services.batch_call("GET", f"/jobs/{job_id}")["state"] == "completed")
    job = one(driver().start().settle())
    assert job["state"] == "completed" and services.jobs() == [job_id]


def test_killed_while_running(driver, services, image):
    d = driver(with_command("sleep 2; wc -c < {image} > size.txt")).start()
    d.put(image(), "images/flood/a.tif")
    d.until("it runs", lambda v: any(j["state"] == "running" for j in v["jobs"]))
    d.process.kill()
    d.died()
    job = one(driver(with_command("sleep 2; wc -c < {image} > size.txt")).start().settle())
    assert job["state"] == "completed" and services.jobs() == [job["id"]]


def test_older_pipeline(driver, services, image):
    """An image is submitted with the pipeline that it was committed under."""
    d = driver().start(ADAFS_CRASH_AT="after-commit")
    d.put(image(), "images/flood/a.tif")
    d.died()
    job = one(driver(with_command("echo other > size.txt")).start().settle())
    assert job["state"] == "completed"
    tasks = services.tasks(job["id"])
    commands = [e["value"] for e in tasks["01-look"]["environmentSettings"] if e["name"] == "ADAFS_COMMAND"]
    assert "wc -c" in commands[0], commands


def test_pair(driver, services, image):
    d = driver(PAIR).start()
    d.put(image("x.tif", "pre"), "images/flood/pre-event/x.tif")
    d.put(image("y.tif", "lonely"), "images/flood/post-event/y.tif")
    view = d.until("both wait", lambda v: len(v["inbox"]) == 2 and v)
    assert view["jobs"] == []
    assert view["inbox"]["images/flood/pre-event/x.tif"] == (
        "waiting for the post partner of x.tif: copy it to inbox/flood/post-event/x.tif")
    # Another client sees the same from the container, and makes the job when the partner comes.
    d.stop()
    d = driver(PAIR).start()
    d.until("both wait", lambda v: v["loaded"] and len(v["inbox"]) == 2)
    d.put(image("x2.tif", "post"), "images/flood/post-event/x.tif")
    d.until("there is a job", lambda v: v["jobs"])
    job = one(d.settle())
    assert job["state"] == "completed", job
    assert job["images"] == ["images/flood/pre-event/x.tif", "images/flood/post-event/x.tif"]
    assert len(services.blobs("images/", "metadata,snapshots")) == 3 + 2
    assert list(d.view()["inbox"]) == ["images/flood/post-event/y.tif"]
    answer = d.do("put", image("z.tif"), "images/flood/z.tif")
    assert answer["rc"] == -2 and "pre-event/*" in answer["error"], answer


def test_new_content(driver, services, image):
    d = driver(with_command("sleep 1; wc -c < {image} > size.txt")).start()
    d.put(image(), "images/flood/a.tif")
    d.until("it runs", lambda v: any(j["state"] == "running" for j in v["jobs"]))
    d.put(image("b.tif", "other content"), "images/flood/a.tif")
    d.until("two jobs", lambda v: len(v["jobs"]) == 2)
    jobs = d.settle()
    assert [j["state"] for j in jobs.values()] == ["completed"] * 2
    assert sorted(j["newest"] for j in jobs.values()) == [False, True]
    newest = {i: j["newest"] for i, j in jobs.items()}
    d.stop()
    again = driver(with_command("sleep 1; wc -c < {image} > size.txt")).start().settle()
    assert {i: j["newest"] for i, j in again.items()} == newest


def test_cancel_and_copy_again(driver, services, image):
    slow = with_command("sleep 30; wc -c < {image} > size.txt")
    d = driver(slow).start()
    d.put(image(), "images/flood/a.tif")
    view = d.until("it runs", lambda v: any(j["state"] == "running" for j in v["jobs"]) and v)
    job_id = view["jobs"][0]["id"]
    assert d.do("cancel", job_id) == {}
    job = one(d.settle())
    assert job["state"] == "cancelled" and set(states(job).values()) == {"cancelled"}, job
    wait_for("the tombstone is there", lambda: services.blobs("jobs/")
             [f"jobs/{job_id}.json"]["adafsstate"] == "cancelled")
    answer = d.do("cancel", job_id)
    assert answer["rc"] == -16 and "cancelled" in answer["error"]
    assert d.do("cancel", "no-such")["rc"] == -2
    d.stop()
    # A tombstone keeps others from running it; copying it in again runs it once more.
    d = driver(slow).start()
    assert one(d.settle())["state"] == "cancelled"
    assert services.jobs() == [job_id]
    d.put(image(), "images/flood/a.tif")
    d.until("it runs again", lambda v: v["jobs"][0]["state"] == "running")
    assert services.jobs() == [job_id, job_id + "-r2"]
    assert d.do("cancel", job_id) == {}
    assert one(d.settle())["batch"] == job_id + "-r2"


def test_delete_image(driver, services, image):
    d = driver(with_command("sleep 30")).start()
    d.put(image(), "images/flood/a.tif")
    d.until("it runs", lambda v: any(j["state"] == "running" for j in v["jobs"]))
    assert d.do("forget", "images/flood/a.tif") == {}
    assert one(d.settle())["state"] == "cancelled"
    assert d.view()["inbox"] == {}
    d.stop()
    assert one(driver(with_command("sleep 30")).start().settle())["state"] == "cancelled"
    assert len(services.jobs()) == 1


@pytest.mark.parametrize("command,more,job,look,tell", [
    ("exit 3", {}, "failed", "failed", "skipped"),
    ("exit 9", {"stop_on": [9]}, "empty", "empty", "skipped"),
    ("true", {}, "failed", "failed", "skipped"),
])
def test_endings(driver, image, command, more, job, look, tell):
    d = driver(with_command(command, **more)).start()
    d.put(image(), "images/flood/a.tif")
    found = one(d.settle())
    assert found["state"] == job, found
    assert states(found)["01-look"] == look and states(found)["02-tell"] == tell, found
    assert states(found)["03-merge"] == "completed", found
    inbox = d.view()["inbox"]
    assert inbox == ({"images/flood/a.tif": found["id"]} if job == "failed" else {})
    if job == "failed":
        assert "01-look failed" in found["waiting_for"]


def test_ended_outside(driver, services, image):
    d = driver(with_command("sleep 30")).start()
    d.put(image(), "images/flood/a.tif")
    view = d.until("it runs", lambda v: any(j["state"] == "running" for j in v["jobs"]) and v)
    services.batch_call("POST", f"/jobs/{view['jobs'][0]['id']}/terminate")
    job = one(d.settle())
    assert job["state"] == "cancelled" and "outside adafs" in job["waiting_for"], job


def test_deleted_outside(driver, services, image):
    d = driver(with_command("sleep 30")).start()
    d.put(image(), "images/flood/a.tif")
    view = d.until("it runs", lambda v: any(j["state"] == "running" for j in v["jobs"]) and v)
    job_id = view["jobs"][0]["id"]
    services.batch_call("DELETE", f"/jobs/{job_id}")
    job = one(d.settle())
    assert job["state"] == "failed" and "deleted outside adafs" in job["waiting_for"], job
    d.stop()
    assert one(driver(with_command("sleep 30")).start().settle())["state"] == "failed"
    assert services.gone(job_id)


def test_foreign_job_id(driver, services, image, tmp_path):
    """The same image in another container of the same Batch account is another job."""
    a = driver().start()
    a.put(image(), "images/flood/a.tif")
    first = one(a.settle())
    b = driver()
    b.argv[1] = "other"
    b.start()
    b.put(image(), "images/flood/a.tif")
    second = one(b.settle())
    assert second["id"] == first["id"] and second["batch"] == first["id"] + "-r2"
    assert second["state"] == "completed"


def test_services_away(driver, services, emulator, image):
    d = driver().start()
    emulator.kill()
    # The commit itself fails; nothing was promised.
    assert "rc" in d.do("put", image(), "images/flood/a.tif")
    restart(emulator)
    wait_for("a commit works again",
             lambda: "etag" in d.do("put", image(), "images/flood/a.tif"))
    job = one(d.settle(90))
    assert job["state"] == "completed" and services.jobs() == [job["id"]]
    wait_for("no trouble", lambda: d.view()["trouble"] == "")


def test_emulator_killed_while_running(driver, services, emulator, image):
    d = driver(with_command("sleep 2; wc -c < {image} > size.txt")).start()
    for i in range(4):
        d.put(image(f"{i}.tif", f"content {i}"), f"images/flood/{i}.tif")
    d.until("something runs", lambda v: any(j["state"] == "running" for j in v["jobs"]))
    emulator.kill()
    d.until("the view says so", lambda v: v["trouble"], 60)
    restart(emulator)
    jobs = d.settle(120)
    assert len(jobs) == 4 and all(j["state"] == "completed" for j in jobs.values()), jobs
    assert services.jobs() == sorted(jobs)


def test_many(driver, services, image):
    d = driver().start()
    for i in range(12):
        d.put(image(f"{i}.tif", f"content {i}"), f"images/flood/{i}.tif")
    jobs = d.settle(120)
    assert len(jobs) == 12 and all(j["state"] == "completed" for j in jobs.values())
    assert len(services.jobs()) == 12


def test_pool_is_made_here(driver, services, image):
    d = driver(pool="other-pool").start()
    assert d.view()["pool_state"] in ("steady", "resizing")
    assert services.batch_call("GET", "/pools/other-pool")["id"] == "other-pool"
