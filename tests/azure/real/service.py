"""A small client of both services that works over http and https, for questions to the real ones."""
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "emulator"))
from azure_sign import service_sas, shared_key  # noqa: E402

NEEDED = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ACCESS_KEY",
          "AZURE_BATCH_ENDPOINT", "ADAFS_REAL_POOL")


MISSING = [name for name in NEEDED if not os.environ.get(name)]
IS_ASKED = os.environ.get("ADAFS_REAL") == "yes" and not MISSING

BATCH_VERSION = "2024-07-01.20.0"
JSON = "application/json; odata=minimalmetadata"


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        """The service's code of a refusal."""
        if code := self.headers.get("x-ms-error-code"):
            return code
        try:
            return json.loads(self.body)["code"]
        except (ValueError, KeyError):
            return ""


def send(method, url, headers, data):
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as r:
            return Reply(r.status, r.headers, r.read())
    except urllib.error.HTTPError as e:
        return Reply(e.code, e.headers, e.read())


class Service:
    def __init__(self, settings, pool):
        parts = dict(p.split("=", 1) for p in settings["AZURE_STORAGE_CONNECTION_STRING"].split(";") if "=" in p)
        self.account, self.key = parts["AccountName"], parts["AccountKey"]
        self.blob_endpoint = parts.get("BlobEndpoint", "https://%s.blob.%s" % (
            self.account, parts.get("EndpointSuffix", "core.windows.net"))).rstrip("/")
        self.batch_endpoint = settings["AZURE_BATCH_ENDPOINT"].rstrip("/")
        self.batch_account, self.batch_key = settings["AZURE_BATCH_ACCOUNT"], settings["AZURE_BATCH_ACCESS_KEY"]
        self.pool = pool
        self.is_real = not self.batch_endpoint.startswith("http://127.")
        self.jobs = []

    def begin(self, container):
        self.container = container
        assert self.blob("PUT", "?restype=container").status == 201

    def end(self):
        for job in self.jobs:
            self.batch("DELETE", "/jobs/" + job)
        self.blob("DELETE", "?restype=container")

    # --- Blob ---------------------------------------------------------------------------------

    def url(self, path=""):
        """Of a blob of the container, or of the container with a query."""
        slash = "" if path.startswith("?") or not path else "/"
        return "%s/%s%s%s" % (self.blob_endpoint, self.container, slash, path)

    def blob(self, method, path="", data=None, sas=None, **headers):
        """Names of headers have _ for -; signed by the key unless a SAS is given."""
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        url = self.url(path)
        if method in ("PUT", "POST") and data is None:
            data = b""
        if data is not None:
            headers.setdefault("Content-Type", "application/octet-stream")
        if sas:
            url += ("&" if "?" in url else "?") + sas
            headers.setdefault("x-ms-version", "2021-12-02")
        else:
            shared_key(self.account, self.key, method, url, headers, len(data) if data else None)
        return send(method, url, headers, data)

    def put(self, name, data=b"hello", **headers):
        return self.blob("PUT", name, data, x_ms_blob_type="BlockBlob", **headers)

    def sas(self, sp, blob=None, hours=1, **more):
        se = (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        if "si" not in more:
            more["se"] = se
        return service_sas(self.account, self.key, self.container, blob, **({"sp": sp} if sp else {}), **more)

    # --- Batch --------------------------------------------------------------------------------

    def batch(self, method, path, body=None, version=BATCH_VERSION, **query):
        if version:
            query["api-version"] = version
        url = self.batch_endpoint + path
        if query:
            url += "?" + urllib.parse.urlencode({k.replace("S_", "$"): v for k, v in query.items()},
                                                quote_via=urllib.parse.quote)
        headers = {"ocp-date": formatdate(usegmt=True)}
        data = json.dumps(body).encode() if body is not None else b"" if method == "POST" else None
        if data is not None:  # urllib would choose one of its own, unsigned
            headers["Content-Type"] = JSON
        length = None if data is None else len(data)
        # The signed length is what is on the wire: 0 is signed as "0" by Batch.
        signed = dict(headers)
        shared_key_batch(self.batch_account, self.batch_key, method, url, signed, length)
        return send(method, url, signed, data)

    def get(self, path, **query):
        r = self.batch("GET", path, **query)
        assert r.status == 200, (r.status, r.body)
        return json.loads(r.body)

    def job(self, name, **more):
        job = "%s-%s" % (self.container, name)
        body = {"id": job, "poolInfo": {"poolId": self.pool}, "usesTaskDependencies": True,
                "constraints": {"maxWallClockTime": "PT2H"}, **more}
        r = self.batch("POST", "/jobs", body)
        assert r.status == 201, (r.status, r.body)
        self.jobs.append(job)
        return job

    def task(self, job, task, command="/bin/true", **more):
        return self.batch("POST", "/jobs/%s/tasks" % job, {"id": task, "commandLine": command, **more})

    def wait(self, what, probe, seconds=900):
        deadline = time.monotonic() + (seconds if self.is_real else min(seconds, 60))
        while not (value := probe()):
            assert time.monotonic() < deadline, "not in time: " + what
            time.sleep(5 if self.is_real else 0.05)
        return value

    def wait_task(self, job, task):
        def probe():
            t = self.get("/jobs/%s/tasks/%s" % (job, task))
            return t if t["state"] == "completed" else None
        return self.wait("task %s completed" % task, probe)


def shared_key_batch(account, key, method, url, headers, length):
    from batch_sign import sign
    parts = urllib.parse.urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    sign(account, key, method, target, headers, "" if length is None else str(length))
