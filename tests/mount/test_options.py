"""The command line, the environment and the configuration file; nothing is mounted here."""
import os
import re
import subprocess

import pytest

from harness import ROOT, program

KEY = "c2VjcmV0LWtleS1vZi1ub2JvZHk="


@pytest.fixture
def adafs(tmp_path):
    """Run adafs with private directories and no account: (exit status, standard error)."""
    def run(*argv: str, config: str | None = None, mode: int = 0o600, **env: str):
        place = tmp_path / "config" / "adafs"
        place.mkdir(parents=True, exist_ok=True)
        if config is not None:
            (place / "adafs.conf").write_text(config)
            (place / "adafs.conf").chmod(mode)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AZURE_")}
        clean.update(XDG_CONFIG_HOME=str(tmp_path / "config"), XDG_DATA_HOME=str(tmp_path / "data"), **env)
        done = subprocess.run([program(), *argv], env=clean, cwd=tmp_path, capture_output=True, text=True,
                              timeout=60)
        return done.returncode, done.stderr
    return run


def test_help_goes_to_stdout_and_names_every_option_of_the_man_page():
    done = subprocess.run([program(), "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stderr == ""
    page = (ROOT / "man" / "adafs.conf.5").read_text().split(".Sh ENVIRONMENT")[0]
    for name in re.findall(r"^\.It Cm (\w+)", page, re.M):
        assert re.search(rf"^  {name}\b", done.stdout, re.M), f"{name} is in adafs.conf(5) only"


def test_every_option_of_help_is_in_the_man_page():
    out = subprocess.run([program(), "--help"], capture_output=True, text=True, timeout=20).stdout
    page = (ROOT / "man" / "adafs.conf.5").read_text() + (ROOT / "man" / "adafs.1").read_text()
    for name in re.findall(r"^  (\w\w+)", out, re.M):
        assert re.search(rf"\b{name}\b", page), f"{name} is in --help only"


def test_version():
    done = subprocess.run([program(), "--version"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and re.match(r"adafs \d+\.\d+", done.stdout)


def test_without_mount_point(adafs):
    status, err = adafs()
    assert status == 1 and "mount point" in err


@pytest.mark.parametrize("given, nearest", [("poool=x", "pool"), ("contaner=x", "container"),
                                            ("alow_other", "allow_other"), ("iotimeout=3", "io_timeout")])
def test_an_unknown_option_names_the_nearest(adafs, given, nearest):
    status, err = adafs("-o", given, "mnt")
    assert status == 1 and given.split("=")[0] in err and f"'{nearest}'" in err


@pytest.mark.parametrize("option", ["account_key", "sas_token", "connection_string", "batch_key", "batch-key"])
def test_keys_are_refused_on_the_command_line(adafs, option):
    status, err = adafs("-o", f"{option}={KEY}", "mnt")
    assert status == 1 and "environment" in err and KEY not in err


@pytest.mark.parametrize("option", ["cache_size=4x", "cache_size=", "cache_size=1", "block_size=1G", "io_timeout=-1",
                                    "io_timeout=nan", "poll=0", "uid=bob", "ro=1", "container", "container=Up", "container=a"])
def test_bad_values_are_named(adafs, option):
    status, err = adafs("-o", option, "mnt")
    assert status == 1 and option.split("=")[0] in err


def test_options_of_fstab_are_taken(adafs):
    options = "rw,_netdev,nofail,noauto,user,defaults,dev,suid,exec,nodev,nosuid,noexec,x-systemd.automount"
    status, err = adafs("-o", options, "source", "missing/mnt")
    assert status == 1 and "missing/mnt" in err and "unknown" not in err


def test_the_pipeline_is_checked_before_anything_starts(adafs, tmp_path):
    (tmp_path / "mnt").mkdir()
    status, err = adafs("-o", "pipeline=./none.json", "mnt")
    assert status == 1 and "none.json" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kind", ["missing", "file", "full"])
def test_mount_points_that_cannot_be(adafs, tmp_path, kind):
    if kind == "file":
        (tmp_path / "mnt").write_text("")
    elif kind == "full":
        (tmp_path / "mnt").mkdir()
        (tmp_path / "mnt" / "x").write_text("")
    status, err = adafs("mnt")
    assert status == 32 and "mnt" in err
    assert not (tmp_path / "data").exists()


def test_the_file_may_have_comments_and_windows_line_ends(adafs):
    status, err = adafs("mnt", config="# settings\r\ncontainer=other\r\n\r\n  io_timeout = 9\r\n")
    assert status == 32, err
    status, err = adafs("mnt", config="# settings\r\ncontainer=other\r\n\r\n  io_timeout = 9x\r\n")
    assert status == 1 and "adafs.conf:4" in err and "9x" in err


def test_the_file_names_its_line(adafs):
    status, err = adafs("mnt", config="container=x\npolll=3\n")
    assert status == 1 and "adafs.conf:2" in err and "'poll'" in err


def test_a_file_with_a_key_must_be_private(adafs):
    config = f"account_name=acct\naccount_key={KEY}\n"
    status, err = adafs("mnt", config=config, mode=0o644)
    assert status == 1 and "chmod 600" in err and KEY not in err
    status, err = adafs("mnt", config=config, mode=0o600)
    assert status == 32


def test_half_an_account_is_refused(adafs):
    status, err = adafs("-o", "auth=key", "mnt", AZURE_STORAGE_ACCOUNT="acct")
    assert status == 1 and "AZURE_STORAGE_KEY" in err
    status, err = adafs("-o", "auth=sas", "mnt", AZURE_STORAGE_ACCOUNT="acct")
    assert status == 1 and "AZURE_STORAGE_SAS_TOKEN" in err
    status, err = adafs("-o", "auth=magic", "mnt")
    assert status == 1 and "use auto, key" in err
    status, err = adafs("mnt", AZURE_STORAGE_KEY=KEY)
    assert status == 1 and "AZURE_STORAGE_ACCOUNT" in err
    status, err = adafs("mnt", AZURE_BATCH_ACCOUNT="b", AZURE_BATCH_ACCESS_KEY=KEY)
    assert status == 1 and "AZURE_BATCH_ENDPOINT" in err


def test_settings_that_contradict_each_other(adafs):
    """One sentence with the name, the reason and the fix; what is given beside a connection string does not count."""
    whole = {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acct;AccountKey={KEY}"}
    for argv, env, words in [
            (["-o", "auth=sas"], {**whole, "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"}, "connection string goes before"),
            (["-o", "auth=key"], {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;SharedAccessSignature=sv=1&sig=x",
                                  "AZURE_STORAGE_KEY": KEY}, "take it away"),
            ([], {**whole, "AZURE_STORAGE_ACCOUNT": "another"}, "'acct' and AZURE_STORAGE_ACCOUNT says 'another'"),
            (["-o", "auth=cli,identity=x"], {"AZURE_STORAGE_ACCOUNT": "acct"}, "auth=msi"),
            (["-o", "pool=a/../b"], {}, "pool=a/../b: a pool's id"),
            (["-o", "pool_spot=4"], {}, "pool_vm_size= is missing")]:
        status, err = adafs(*argv, "mnt", **env)
        assert status == 1 and words in err and KEY not in err, err


@pytest.mark.parametrize("line", ["account_key " + KEY, KEY, "account_key: " + KEY])
def test_a_key_whose_name_was_lost_is_not_shown(adafs, line):
    status, err = adafs("mnt", config="ro\n" + line + "\n")
    assert status == 1 and "adafs.conf:2" in err and "name=value" in err
    assert KEY.rstrip("=")[:20] not in err


def test_real_batch_needs_real_blobs(adafs):
    batch = {"AZURE_BATCH_ACCOUNT": "myjobs", "AZURE_BATCH_ACCESS_KEY": KEY,
             "AZURE_BATCH_ENDPOINT": "https://myjobs.westeurope.batch.azure.com"}
    status, err = adafs("mnt", **batch)
    assert status == 1 and "cannot reach" in err
    local = f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/acct;"
    status, err = adafs("mnt", **batch, AZURE_STORAGE_CONNECTION_STRING=local)
    assert status == 1 and "cannot reach" in err
    assert KEY not in err


def test_status_of_no_mount(adafs, tmp_path):
    status, err = adafs("status", str(tmp_path))
    assert status == 1 and "no mount" in err


def test_check_with_the_embedded_engine(adafs, tmp_path):
    status, err = adafs("check", "-o", f"dir={tmp_path / 'engine'}")
    assert status == 0, err
    assert not (tmp_path / "engine" / "settings").exists(), "the emulator that it started has ended"
    status, err = adafs("check", "-o", f"dir={tmp_path / 'engine'},pool=none")
    assert status == 1
