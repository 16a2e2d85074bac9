"""What only Azure Blob can answer; each test holds what adafs assumes."""
import base64
import time
from datetime import datetime, timedelta, timezone


def stamp(**delta):
    return (datetime.now(timezone.utc) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def policy(name, expiry, permission=""):
    return ("<SignedIdentifiers><SignedIdentifier><Id>%s</Id><AccessPolicy><Expiry>%s</Expiry>%s</AccessPolicy>"
            "</SignedIdentifier></SignedIdentifiers>" % (name, expiry, permission)).encode()


def until(service, probe, seconds=60):
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(1 if service.is_real else 0.05)


def test_a_policy_that_holds_only_the_expiry(service):
    """The URLs of tasks name a stored access policy for the expiry and carry their permissions themselves."""
    service.put("b")
    assert service.blob("PUT", "?restype=container&comp=acl", policy("p", stamp(days=1))).status == 200
    sas = service.sas("r", "b", si="p")
    until(service, lambda: service.blob("GET", "b", sas=sas).status == 200)
    both = service.sas("r", "b", si="p", se=stamp(days=1))
    assert service.blob("GET", "b", sas=both).status in (400, 403)


def test_a_policy_that_is_cut(service):
    service.put("b")
    service.blob("PUT", "?restype=container&comp=acl", policy("p", stamp(days=1)))
    sas = service.sas("r", "b", si="p")
    until(service, lambda: service.blob("GET", "b", sas=sas).status == 200)
    service.blob("PUT", "?restype=container&comp=acl", policy("p", stamp(days=-1)))
    until(service, lambda: service.blob("GET", "b", sas=sas).status == 403)


def test_conditions_of_a_commit(service):
    service.put("b")
    assert service.put("b", If_None_Match="*").code == "BlobAlreadyExists"
    assert service.put("b", If_Match='"0x8D0000000000000"').code == "ConditionNotMet"
    assert service.put("none", If_Match='"0x8D0000000000000"').status == 412


def test_a_copy_that_must_be_new(service):
    service.put("a")
    service.put("b")
    r = service.blob("PUT", "b", x_ms_copy_source=service.url("a"), If_None_Match="*")
    assert (r.status, r.code) in ((412, "TargetConditionNotMet"), (409, "BlobAlreadyExists")), (r.status, r.code)


def test_damaged_bytes_are_refused(service):
    wrong = base64.b64encode(b"12345678").decode()
    r = service.put("b", x_ms_content_crc64=wrong)
    assert (r.status, r.code) == (400, "Crc64Mismatch")
    r = service.put("b", Content_MD5=base64.b64encode(b"1234567890123456").decode())
    assert (r.status, r.code) == (400, "Md5Mismatch")


def test_a_range_of_four_mebibytes_comes_with_its_checksum(service):
    service.put("b", b"x" * (4 << 20))
    r = service.blob("GET", "b", x_ms_range="bytes=0-4194303", x_ms_range_get_content_crc64="true")
    assert r.status == 206 and r.headers["x-ms-content-crc64"]
    service.put("c", b"x" * (5 << 20))
    r = service.blob("GET", "c", x_ms_range="bytes=0-5242879", x_ms_range_get_content_crc64="true")
    assert r.status == 400


def test_leases_leave_the_etag_alone(service):
    etag = service.put("b").headers["ETag"]
    r = service.blob("PUT", "b?comp=lease", x_ms_lease_action="acquire", x_ms_lease_duration="15")
    assert r.status == 201
    assert service.blob("HEAD", "b").headers["ETag"] == etag


def test_a_page_holds_five_thousand_names(service):
    for n in range(3):
        service.put("n%d" % n)
    r = service.blob("GET", "?restype=container&comp=list&maxresults=2")
    assert r.body.count(b"<Blob>") == 2 and b"<NextMarker>" in r.body


def test_metadata_survives_a_commit_of_blocks(service):
    block = base64.b64encode(b"0001").decode()
    assert service.blob("PUT", "b?comp=block&blockid=" + block.replace("=", "%3D"), b"data").status == 201
    body = ("<BlockList><Latest>%s</Latest></BlockList>" % block).encode()
    assert service.blob("PUT", "b?comp=blocklist", body, x_ms_meta_adafssha256="ab").status == 201
    assert service.blob("HEAD", "b").headers["x-ms-meta-adafssha256"] == "ab"
    assert "Content-MD5" not in service.blob("HEAD", "b").headers


def test_a_snapshot_is_bound_to_an_etag(service):
    etag = service.put("b").headers["ETag"]
    r = service.blob("PUT", "b?comp=snapshot", If_Match=etag)
    assert r.status == 201 and r.headers["x-ms-snapshot"]
    service.put("b", b"newer")
    assert service.blob("PUT", "b?comp=snapshot", If_Match=etag).status == 412
    assert service.blob("GET", "b?snapshot=" + r.headers["x-ms-snapshot"]).body == b"hello"
