"""Shared Key of the Batch service and a small client, written from the protocol, not from the emulator."""
import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.parse
from email.utils import formatdate

VERSION = "2024-07-01.20.0"
CONTENT_TYPE = "application/json; odata=minimalmetadata; charset=utf-8"


def string_to_sign(account, method, target, headers, length=""):
    low = {k.lower(): v for k, v in headers.items()}
    path, _, query = target.partition("?")
    fields = [method, low.get("content-encoding", ""), low.get("content-language", ""), length,
              low.get("content-md5", ""), low.get("content-type", ""),
              "" if "ocp-date" in low else low.get("date", ""), low.get("if-modified-since", ""),
              low.get("if-match", ""), low.get("if-none-match", ""),
              low.get("if-unmodified-since", ""), low.get("range", "")]
    text = "\n".join(fields) + "\n"
    text += "".join("%s:%s\n" % (k, low[k].strip()) for k in sorted(low) if k.startswith("ocp-"))
    text += "/" + account + path
    for part in sorted(p.partition("=")[::2] for p in query.split("&") if p):
        text += "\n%s:%s" % (part[0], urllib.parse.unquote(part[1]))
    return text


def sign(account, key, method, target, headers, length=""):
    text = string_to_sign(account, method, target, headers, length)
    mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = "SharedKey %s:%s" % (account, base64.b64encode(mac).decode())
    return headers


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["code"]


class Batch:
    def __init__(self, settings):
        self.endpoint = settings["AZURE_BATCH_ENDPOINT"]
        self.account = settings["AZURE_BATCH_ACCOUNT"]
        self.key = settings["AZURE_BATCH_ACCESS_KEY"]
        self.authority = self.endpoint.split("://")[1]

    def call(self, method, path, body=None, headers=None, signed=True, key=None, **query):
        """path is percent-encoded; query values are not. A next link may be given as path."""
        target = path.replace(self.endpoint, "")
        if "api-version" not in target and query.get("api_version", VERSION):
            query["api-version"] = query.pop("api_version", VERSION)
        query.pop("api_version", None)
        if query:
            quoted = "&".join("%s=%s" % (k.replace("S_", "$"), urllib.parse.quote(str(v)))
                              for k, v in query.items())
            target += ("&" if "?" in target else "?") + quoted
        headers = dict(headers or {})
        headers.setdefault("ocp-date", formatdate(usegmt=True))
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", CONTENT_TYPE)
        elif method == "POST":
            data = b""
        length = "" if data is None else str(len(data))
        if signed:
            sign(self.account, key or self.key, method, target, headers, length)
        c = http.client.HTTPConnection(self.authority, timeout=60)
        try:
            c.request(method, target, data, headers)
            r = c.getresponse()
            return Reply(r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read())
        finally:
            c.close()

    def get(self, path, **query):
        r = self.call("GET", path, **query)
        assert r.status == 200, (r.status, r.body)
        return r.json

    def list(self, path, **query):
        page = self.get(path, **query)
        items = page["value"]
        while "odata.nextLink" in page:
            page = self.get(page["odata.nextLink"])
            items += page["value"]
        return items

    def ok(self, method, path, body=None, status=None, **more):
        r = self.call(method, path, body, **more)
        assert r.status == status if status else r.status < 300, (r.status, r.body)
        return r

    def job(self, job_id, pool="local", **more):
        self.ok("POST", "/jobs", dict({"id": job_id, "poolInfo": {"poolId": pool}}, **more), 201)

    def add(self, job_id, *tasks):
        results = self.ok("POST", "/jobs/%s/addtaskcollection" % job_id, {"value": list(tasks)},
                          200).json["value"]
        assert all(r["status"] == "Success" for r in results), results

    def task(self, job_id, task_id):
        return self.get("/jobs/%s/tasks/%s" % (job_id, task_id))

    def wait(self, what, probe, seconds=30):
        deadline = time.monotonic() + seconds
        while True:
            value = probe()
            if value:
                return value
            assert time.monotonic() < deadline, "not within %s s: %s" % (seconds, what)
            time.sleep(0.02)

    def wait_task(self, job_id, task_id, state="completed", seconds=30):
        def probe():
            t = self.task(job_id, task_id)
            return t if t["state"] == state else None
        return self.wait("%s/%s %s" % (job_id, task_id, state), probe, seconds)

    def wait_job(self, job_id, state="completed", seconds=30):
        def probe():
            j = self.get("/jobs/" + job_id)
            return j if j["state"] == state else None
        return self.wait("job %s %s" % (job_id, state), probe, seconds)

    def file(self, job_id, task_id, name):
        r = self.call("GET", "/jobs/%s/tasks/%s/files/%s" % (job_id, task_id,
                                                             urllib.parse.quote(name, safe="")))
        assert r.status == 200, (r.status, r.body)
        return r.body.decode()


def sh(task_id, script, **more):
    """A task that runs a script of the shell."""
    quoted = script.replace("\\", "\\\\").replace('"', '\\"')
    return dict({"id": task_id, "commandLine": '/bin/sh -c "%s"' % quoted}, **more)
