"""Shared Key and SAS signatures for the tests, written from the protocol, not from the emulator."""
import base64
import hashlib
import hmac
import urllib.parse
from email.utils import formatdate

VERSION = "2021-12-02"


def hmac_b64(key, text):
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _query(url):
    query = urllib.parse.urlsplit(url).query
    return [(k, urllib.parse.unquote(v)) for k, _, v in
            (part.partition("=") for part in query.split("&") if part)]


def canonical_resource(account, url):
    """url as sent, path-style or not: its path is taken undecoded."""
    path = url.split("?", 1)[0]
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    text = "/" + account + (path or "/")
    params = {}
    for name, value in _query("?" + url.partition("?")[2]):
        params.setdefault(name.lower(), []).append(value)
    for name in sorted(params):
        text += "\n%s:%s" % (name, ",".join(sorted(params[name])))
    return text


def canonical_headers(headers, prefix="x-ms-"):
    low = {k.lower(): v for k, v in headers.items() if k.lower().startswith(prefix)}
    return "".join("%s:%s\n" % (k, low[k].strip()) for k in sorted(low))


def shared_key(account, key, method, url, headers, length=None, ms_prefix="x-ms-"):
    """
    Add x-ms-date, x-ms-version and Authorization to headers. For Batch use ms_prefix="ocp-" and set
    ocp-date before. length: of the body; None or 0: empty in the string.
    """
    if ms_prefix == "x-ms-":
        headers.setdefault("x-ms-date", formatdate(usegmt=True))
        headers.setdefault("x-ms-version", VERSION)
    low = {k.lower(): v for k, v in headers.items()}
    date = "" if (ms_prefix + "date") in low else low.get("date", "")
    fields = [method, low.get("content-encoding", ""), low.get("content-language", ""),
              str(length) if length else "", low.get("content-md5", ""), low.get("content-type", ""),
              date, low.get("if-modified-since", ""), low.get("if-match", ""),
              low.get("if-none-match", ""), low.get("if-unmodified-since", ""), low.get("range", "")]
    text = "\n".join(fields) + "\n" + canonical_headers(headers, ms_prefix)
    text += canonical_resource(account, url)
    headers["Authorization"] = "SharedKey %s:%s" % (account, hmac_b64(key, text))
    return headers


def _encode(query):
    return urllib.parse.urlencode(query, quote_via=urllib.parse.quote)


def service_sas(account, key, container, blob=None, sv="2020-12-06", **p):
    """Query of a service SAS; p: sp, st, se, si, sip, spr, snapshot, sr, rscc... as texts."""
    sr = p.pop("sr", "b" if blob is not None else "c")
    canon = "/blob/%s/%s" % (account, container) + ("/" + blob if blob is not None else "")
    fields = [p.get(n, "") for n in ("sp", "st", "se")] + [canon]
    fields += [p.get(n, "") for n in ("si", "sip", "spr")] + [sv]
    if sv >= "2018-11-09":
        fields += [sr, p.get("snapshot", "")]
    if sv >= "2020-12-06":
        fields += [p.get("ses", "")]
    fields += [p.get(n, "") for n in ("rscc", "rscd", "rsce", "rscl", "rsct")]
    return _encode(dict(p, sv=sv, sr=sr, sig=hmac_b64(key, "\n".join(fields))))


def account_sas(account, key, sp, se, ss="b", srt="sco", sv="2020-12-06", **p):
    fields = [account, sp, ss, srt, p.get("st", ""), se, p.get("sip", ""), p.get("spr", ""), sv]
    if sv >= "2020-12-06":
        fields.append(p.get("ses", ""))
    text = "\n".join(fields) + "\n"
    return _encode(dict(p, sp=sp, ss=ss, srt=srt, se=se, sv=sv, sig=hmac_b64(key, text)))
