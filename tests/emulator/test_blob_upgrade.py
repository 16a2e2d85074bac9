"""State that an earlier version wrote opens and serves; limits that would take long to reach."""
import os
import sqlite3
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from blob_client import Client, Emulator, block_id  # noqa: E402

# The first schema, as it was.
VERSION_1 = """
CREATE TABLE container(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, stamp INTEGER NOT NULL,
 access TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE policy(container INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, start TEXT,
 expiry TEXT, permission TEXT, PRIMARY KEY(container, seq)) WITHOUT ROWID;
CREATE TABLE content(id INTEGER PRIMARY KEY);
CREATE TABLE extent(content INTEGER NOT NULL, pos INTEGER NOT NULL, file INTEGER NOT NULL,
 off INTEGER NOT NULL, len INTEGER NOT NULL, PRIMARY KEY(content, pos)) WITHOUT ROWID;
CREATE INDEX extent_file ON extent(file);
CREATE TABLE block(content INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, pos INTEGER NOT NULL,
 len INTEGER NOT NULL, PRIMARY KEY(content, seq)) WITHOUT ROWID;
CREATE INDEX block_id ON block(content, id);
CREATE TABLE blob(id INTEGER PRIMARY KEY, container INTEGER NOT NULL, name TEXT NOT NULL,
 snapshot INTEGER NOT NULL, content INTEGER NOT NULL, size INTEGER NOT NULL, stamp INTEGER NOT NULL,
 created INTEGER NOT NULL, content_type TEXT, encoding TEXT, language TEXT, cache_control TEXT,
 disposition TEXT, md5 TEXT, metadata TEXT NOT NULL, copy_id TEXT, copy_source TEXT,
 copy_stamp INTEGER NOT NULL, tier TEXT, tier_stamp INTEGER NOT NULL, UNIQUE(container, name, snapshot));
CREATE INDEX blob_content ON blob(content);
CREATE UNIQUE INDEX blob_base ON blob(container, name) WHERE snapshot = 9223372036854775807;
CREATE TABLE staged(container INTEGER NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, file INTEGER NOT NULL,
 off INTEGER NOT NULL, len INTEGER NOT NULL, stamp INTEGER NOT NULL,
 PRIMARY KEY(container, name, id)) WITHOUT ROWID;
CREATE INDEX staged_file ON staged(file);
PRAGMA user_version = 1;
"""
STAMP = 1767225600000000  # 2026-01-01


def database(path):
    folder = next(root for root, _, files in os.walk(path) if "blob.db" in files)
    return os.path.join(folder, "blob.db")


@pytest.fixture
def e(tmp_path):
    emulator = Emulator(tmp_path)
    yield emulator
    emulator.stop()


def test_an_old_database_opens(e):
    e.stop()
    path = database(e.path)
    for name in (path, path + "-wal", path + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    db.execute("INSERT INTO container VALUES(1, 'box', ?, '', 'a:1\n')", (STAMP,))
    db.execute("INSERT INTO content VALUES(1)")
    db.execute("INSERT INTO extent VALUES(1, 0, 7, 0, 5)")
    db.execute("INSERT INTO blob VALUES(1, 1, 'b', ?, 1, 5, ?, ?, 'text/plain', NULL, NULL, NULL, NULL,"
               " NULL, 'k:v\n', NULL, NULL, 0, 'Cool', ?)", (2 ** 63 - 1, STAMP, STAMP, STAMP))
    db.commit()
    db.close()
    folder = os.path.join(os.path.dirname(path), "data", "07")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "%016x" % 7), "wb") as f:
        f.write(b"hello")
    e.start()
    c = Client(e)
    g = c.get("/box/b")
    assert g.body == b"hello" and g["x-ms-meta-k"] == "v" and g["x-ms-blob-type"] == "BlockBlob"
    assert g["x-ms-lease-state"] == "available" and c.head("/box/b")["x-ms-access-tier"] == "Cool"
    assert c.send("GET", "/box?restype=container")["x-ms-meta-a"] == "1"
    for path in ("/box/b?comp=lease", "/box?restype=container&comp=lease"):
        assert c.send("PUT", path, headers={"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}).status == 201
    assert c.block("/box/new", block_id(1), b"x").status == 201
    e.stop()
    e.start()
    assert Client(e).get("/box/b")["x-ms-lease-state"] == "leased"


def test_a_full_append_blob(e):
    c = Client(e)
    c.send("PUT", "/box?restype=container")
    c.put("/box/log", b"", x_ms_blob_type="AppendBlob")
    e.stop()
    db = sqlite3.connect(database(e.path))
    db.execute("UPDATE blob SET n_appended = 49999")
    db.commit()
    db.close()
    e.start()
    c = Client(e)
    append = lambda: c.send("PUT", "/box/log?comp=appendblock", b"x")
    assert append()["x-ms-blob-committed-block-count"] == "50000"
    r = append()
    assert (r.status, r.code) == (409, "BlockCountExceedsLimit")
