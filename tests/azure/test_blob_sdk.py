"""The official JavaScript client of Blob, unmodified, over all that it can do: against the emulator, and against
Azurite as the referee. A check that fails on one of them is a fault, or stands in KNOWN with who is wrong."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import ROOT, Emulator
from test_sdk import node_modules  # noqa: F401

sys.path.insert(0, str(ROOT / "tests" / "azure"))
import jwt  # noqa: E402
from azurite import Azurite  # noqa: E402

HERE = Path(__file__).parent
SUBJECTS = sorted(p.stem for p in (HERE / "blob").glob("*.mjs") if p.stem not in ("parts", "delegation"))

# (server, subject, check): who is wrong, by the documentation of the service.
KNOWN: dict[tuple[str, str, str], str] = {
    ("azurite", "acl", "five policies and no more"): "Azurite: keeps a sixth policy",
    ("azurite", "conditions", "If-Match of what is not there"): "Azurite: 412 before 404",
    ("azurite", "copy", "a copy that must be new"): "Azurite: 409 BlobAlreadyExists, documented is 412",
    ("azurite", "copy", "a source with a bad SAS"): "Azurite: a source of the own account needs no right signature",
    ("azurite", "copy", "conditions of the source and of the target"): "Azurite: ConditionNotMet for the source's condition",
    ("azurite", "copy", "no copy to abort"): "Azurite: CopyIdMismatch, though nothing is pending",
    ("azurite", "copy", "Put Blob From URL: whose properties"): "Azurite: not implemented",
    ("azurite", "copy", "Put Blob From URL"): "Azurite: not implemented",
    ("azurite", "copy", "Put Block From URL"): "Azurite: not implemented",
    ("azurite", "copy", "Put Block From URL of nothing"): "Azurite: not implemented",
    ("azurite", "copy", "Append Block From URL"): "Azurite: not implemented",
    ("azurite", "download", "a range that starts at the end"): "Azurite: 206 with no bytes",
    ("azurite", "download", "the MD5 of a range of more than 4 MiB"): "Azurite: no limit",
    ("azurite", "download", "the CRC64 of a range"): "Azurite: knows no CRC64",
    ("azurite", "list", "snapshots before their blob"): "Azurite: the blob comes first",
    ("azurite", "list", "snapshots with a delimiter are refused"): "Azurite: takes them",
    ("azurite", "list", "a page of none is refused"): "Azurite: 400 without a code",
    ("azurite", "properties", "metadata that are too large"): "Azurite: no limit",
    ("azurite", "sas", "container: not for another one"): "Azurite: AuthorizationFailure for every bad SAS",
    ("azurite", "sas", "blob: read"): "Azurite: AuthorizationFailure for every bad SAS",
    ("azurite", "sas", "snapshot: itself only"): "Azurite: AuthorizationFailure for every bad SAS",
    ("azurite", "sas", "times"): "Azurite: AuthorizationFailure for every bad SAS",
    ("azurite", "sas", "addresses"): "Azurite: does not look at sip",
    ("azurite", "sas", "a changed signature and changed fields"): "Azurite: AuthorizationFailure for every bad SAS",
    ("azurite", "sas", "policy: expiry in the policy, permissions in the SAS"): "Azurite: 500 on a policy without permissions",
    ("azurite", "sas", "policy: a field in both is refused"): "Azurite: takes it",
    ("azurite", "sas", "policy: expired, changed, gone"): "Azurite: AuthorizationFailure for every bad SAS",
    ("azurite", "service", "a wrong key"): "Azurite: AuthorizationFailure",
    ("azurite", "service", "errors have a body, a code and ids"): "Azurite: errors have no x-ms-version",
    ("azurite", "service", "names that are too long"): "Azurite: no limit",
    ("azurite", "upload", "a wrong MD5 of a block"): "Azurite: InvalidOperation",
    ("azurite", "upload", "a right MD5 and a CRC64 of a block"): "Azurite: returns no MD5",
    ("azurite", "upload", "a block answers its CRC64"): "Azurite: knows no CRC64",
    ("azurite", "upload", "an upload drops the blocks before it"): "Azurite: keeps them",
}


class Subject:
    """What a run of one subject's file printed: the checks that passed, and the lines of those that failed."""

    def __init__(self, server: str, subject: str, settings: dict[str, str], **more: str):
        env = {k: v for k, v in os.environ.items() if not k.startswith("AZURE_")}
        self.server, self.subject = server, subject
        done = subprocess.run(["node", f"blob/{subject}.mjs"], cwd=HERE, env={**env, **settings, **more},
                              capture_output=True, text=True, timeout=180)
        self.passed, self.failed = [], {}
        for line in done.stdout.splitlines():
            if line.startswith("ok - "):
                self.passed.append(line[5:])
            elif line.startswith("not ok - "):
                self.failed[line[9:].partition(" :: ")[0]] = line[9:]
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]

    def judge(self) -> None:
        known = {what for server, subject, what in KNOWN if (server, subject) == (self.server, self.subject)}
        unknown = [text for what, text in self.failed.items() if what not in known]
        assert not unknown, "\n".join(unknown)
        assert not known & set(self.passed), "no longer different: " + ", ".join(sorted(known & set(self.passed)))
        assert len(self.passed) + len(self.failed) >= 5


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Each server once, started when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            directory = tmp_path_factory.mktemp(name)
            made[name] = Azurite(directory) if name == "azurite" else Emulator(
                directory, "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0").start()
        return made[name]
    yield get
    for server in made.values():
        server.stop()


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("server", ["emulator", "azurite"])
def test_blob(server, subject, servers, node_modules):  # noqa: F811
    many = {"ADAFS_TEST_MANY": os.environ.get("ADAFS_TEST_MANY", "1000")} if server == "azurite" else {}
    Subject(server, subject, servers(server).settings, **many).judge()


def test_delegation(tmp_path, node_modules):  # noqa: F811
    """Azurite takes tokens over https only; the emulator alone then."""
    issuer, tenant = "https://sts.example.com/", "22222222-2222-2222-2222-222222222222"
    key = jwt.make_key(tmp_path / "issuer.pem")
    keys = tmp_path / "issuer.json"
    keys.write_text(json.dumps(jwt.jwks(key, issuer=issuer, tenant=tenant)))
    now = int(time.time())
    token = jwt.sign(key, {"aud": "https://storage.azure.com/", "iss": issuer, "tid": tenant, "nbf": now - 60, "iat": now - 60,
                           "exp": now + 3600, "oid": "11111111-1111-1111-1111-111111111111"})
    e = Emulator(tmp_path / "e", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--issuer", str(keys)).start()
    try:
        Subject("emulator", "delegation", e.settings, ADAFS_TEST_TOKEN=token).judge()
    finally:
        e.stop()
