"""Requests without a signature, and the emulator's traps at run time."""
import http.client
import urllib.parse


def batch_host(e):
    return urllib.parse.urlsplit(e.env["AZURE_BATCH_ENDPOINT"]).netloc


def ask(host, method, target, headers=None):
    c = http.client.HTTPConnection(host, timeout=60)
    try:
        c.request(method, target, headers=headers or {})
        r = c.getresponse()
        return r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read()
    finally:
        c.close()


def trap(e, **values):
    """Set traps; the values of all afterwards."""
    status, _, body = ask(e.host, "POST", "/adafs/traps?" + urllib.parse.urlencode(values))
    assert status == 200, body
    return dict(line.split(" #")[0].split("=") for line in body.decode().splitlines())
