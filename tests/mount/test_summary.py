"""What a merge tells beside the map: summary.json, and the same in words."""
import hashlib
import json

from harness import wait_for
from images import tiff, write_pipeline


def test_the_summary_and_its_words_agree(make_mount, tmp_path):
    pipeline = write_pipeline(tmp_path / "tiny.json", "test $(wc -c < {image}) -lt 1000 || exit 7")
    m = make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    for name, side in (("a.tif", 16), ("large b.tif", 32)):
        (m.path / "inbox/flood" / name).write_bytes(tiff(1, side))
    jobs = m.wait_jobs(2)
    (failed,) = [job for job, state in jobs.items() if state == "failed"]
    event = m.path / "results/flood"

    def both():
        try:
            summary = json.loads((event / "summary.json").read_text())
            text = (event / "summary.txt").read_bytes()
        except OSError:
            return None
        # One merge wrote both: a newer one may come between the two.
        return (summary["expected"], summary["failed"]) == (2, 1) and \
            f"Written: {summary['written']} by run 1 of job {summary['job']}\n".encode() in text and (summary, text)
    summary, text = wait_for("a summary of both images", both, 30)
    digest = hashlib.sha256(pipeline.read_bytes()).hexdigest()
    assert summary["pipeline_digest"] == digest
    assert (summary["container"], summary["container_digest"]) == (None, None)
    assert summary["dates"] == {"first": None, "last": None, "unknown": 2}
    assert {"path": "summary.txt", "size": len(text)} in summary["files"]
    assert {f["path"] for f in summary["files"]} == {"all.txt", "summary.txt"}
    assert text.decode().splitlines() == [
        "Event: flood", f"Pipeline: tiny, digest {digest[:12]}", "Container: none",
        f"Written: {summary['written']} by run 1 of job {summary['job']}",
        "Images: 2 expected, 1 done, 0 empty, 1 failed, 0 unassessed", "Acquired: unknown", "", "Not in the map:",
        f"failed: images/flood/large b.tif (job {failed}): an earlier step failed"]
