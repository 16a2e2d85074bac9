"""What is measured. Each line is run in turns by every program and by the limit, which does the same without a mount."""
import os
import random
import statistics
import subprocess
import time

from mountbench.servers import N_SMALL, SMALL

MIB = 1 << 20


def timed(argv):
    begin = time.monotonic()
    subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


class Line:
    """mount(m) and limit(server) return one value each; more: the greater the better."""

    name, what, unit, limit_name, more = "", "", "", "", True
    # Ratios of the median to the limit and to rclone that are wanted; None: no target.
    to_limit = to_rclone = None
    most = None  # of the value itself
    with_start = False  # CPU time and requests are counted from exec on

    def __init__(self, options, folder):
        self.options, self.folder = options, folder

    def prepare(self, server):
        """Before the first round on a server."""

    def mount(self, m):
        raise NotImplementedError

    def limit(self, server):
        return None

    def check(self, m):
        """After what was measured: what the program calls done is done."""

    def also(self):
        """Another figure for the map, by its name: what no mount can be faster than."""
        return {}

    def clean(self):
        """After the last round."""


class Read(Line):
    name, what, unit, limit_name = "read", "cold sequential read of {size} MiB", "MB/s", "curl"
    to_limit, to_rclone = 0.6, 4.3

    def rate(self, seconds):
        return self.options.size / 1e6 / seconds

    def mount(self, m):
        return self.rate(timed(["dd", f"if={m.path / 'big'}", "of=/dev/null", "bs=1M"]))

    def limit(self, server):
        return self.rate(timed(["curl", "-sf", "-o", "/dev/null", server.blob_url("big")]))


class Read4(Read):
    """The same limit with four connections, for the map."""

    name, what, limit_name = "read4", "the limit of four connections", "curl x4"
    to_limit = to_rclone = None

    def mount(self, m):
        return None

    def limit(self, server):
        quarter = self.options.size // 4
        begin = time.monotonic()
        running = [subprocess.Popen(["curl", "-sf", "-o", "/dev/null", "-r", f"{i * quarter}-{(i + 1) * quarter - 1}",
                                     server.blob_url("big")]) for i in range(4)]
        assert not any(p.wait() for p in running)
        return self.rate(time.monotonic() - begin)


class Reread(Read):
    name, what = "reread", "warm sequential read of {size} MiB"
    to_limit = to_rclone = None

    def mount(self, m):
        super().mount(m)
        return super().mount(m)

    def limit(self, server):
        return None


class Random(Line):
    unit, limit_name, more = "ms", "curl", False
    to_limit = 1.5
    asks = None  # requests and bytes for each one asked for, at most
    count = 200
    length = 0

    def offsets(self):
        dice = random.Random(self.length)
        return [dice.randrange(self.options.size // self.length) * self.length for _ in range(self.count)]

    def mount(self, m):
        fd, times = os.open(m.path / "big", os.O_RDONLY), []
        for off in self.offsets():
            begin = time.monotonic()
            assert len(os.pread(fd, self.length, off)) == self.length
            times.append(time.monotonic() - begin)
        os.close(fd)
        return statistics.median(times) * 1000

    def limit(self, server):
        config = self.folder / "curl.conf"
        config.write_text("next\n".join(f'url = "{server.blob_url("big")}"\nrange = {off}-{off + self.length - 1}\n'
                                        'output = /dev/null\nwrite-out = "%{time_total}\\n"\n' for off in self.offsets()))
        done = subprocess.run(["curl", "-s", "-K", str(config)], check=True, stdout=subprocess.PIPE, text=True)
        return statistics.median(float(line) for line in done.stdout.split()) * 1000


class Random4(Random):
    name, what, length = "random4", "cold reads of 4 KiB anywhere, p50", 4096


class Random64(Random):
    name, what, length = "random64", "cold reads of 64 KiB anywhere, p50", 65536
    to_limit, asks = 1.3, (1.2, 4)


class Write(Read):
    name, what, limit_name = "write", "write of {size} MiB to durable close", "4 x Put Block"
    to_limit, to_rclone = 0.75, 3.4
    number = 0

    def prepare(self, server):
        self.source = self.folder / "source"
        if not self.source.exists():
            chunk = os.urandom(MIB)
            with open(self.source, "wb") as f:
                for i in range(self.options.size // MIB):
                    f.write(i.to_bytes(8, "big") + chunk[8:])

    def mount(self, m):
        type(self).number += 1
        return self.rate(timed(["dd", f"if={self.source}", f"of={m.path / f'written-{self.number}'}", "bs=1M"]))

    def check(self, m):
        m.server.must_have(f"written-{self.number}", self.options.size)
        m.server.request("DELETE", f"written-{self.number}").read()

    def limit(self, server):
        seconds = server.load("blocks", server.target("raw"), self.source, 4 * MIB, 4)
        server.request("DELETE", "raw").read()
        return self.rate(seconds)

    def clean(self):
        self.source.unlink(missing_ok=True)


class SmallIn(Line):
    name, what, unit, limit_name = "small-in", f"{N_SMALL} files of 100 KiB in, one after the other", "/s", "serial Put Blob"
    to_limit, to_rclone = 0.8, 2.8
    number = 0

    def mount(self, m):
        type(self).number += 1
        folder, data = m.path / f"in-{self.number}", os.urandom(SMALL)
        folder.mkdir()
        begin = time.monotonic()
        for i in range(N_SMALL):
            with open(folder / f"{i:05}", "wb") as f:
                f.write(data)
        return N_SMALL / (time.monotonic() - begin)

    def check(self, m):
        m.server.must_have(f"in-{self.number}/{N_SMALL - 1:05}", SMALL)

    def limit(self, server):
        return N_SMALL / server.load("puts", server.target("raw/"), 1, N_SMALL, SMALL)


class SmallOut(Line):
    name, what, unit = "small-out", f"{N_SMALL} files of 100 KiB out, one after the other", "/s"

    def mount(self, m):
        names = sorted(os.listdir(m.path / "small"))
        begin = time.monotonic()
        for name in names:
            assert os.path.getsize(m.path / "small" / name) == len((m.path / "small" / name).read_bytes())
        return len(names) / (time.monotonic() - begin)


class List(Line):
    unit, limit_name, more = "ms", "raw pages", False
    to_limit, to_rclone = 1.5, 0.25
    count = 0

    def mount(self, m):
        return timed(["ls", "-l", m.path / f"n{self.count}"]) * 1000

    def limit(self, server):
        return server.load("list", server.target("").rstrip("/"), f"n{self.count}/") * 1000

    def local(self):
        folder = self.folder / f"n{self.count}"
        if not folder.exists():
            folder.mkdir()
            for i in range(self.count):
                (folder / f"image-{i:06}.tif").touch()
        return timed(["ls", "-l", folder]) * 1000

    def also(self):
        return {"ls -l in memory": self.local()}


class List5(List):
    name, what, count = "ls5000", "cold ls -l of 5,000", 5000


class List20(List):
    name, what, count = "ls20000", "cold ls -l of 20,000", 20000


class List100(List):
    name, what, count = "ls100000", "cold ls -l of 100,000", 100000


class Warm(List):
    name, what, count = "warm5000", "warm ls -l of 5,000", 5000
    limit_name, to_limit, to_rclone = "ls -l in memory", None, 1.0

    def mount(self, m):
        super().mount(m)
        return super().mount(m)

    def limit(self, server):
        return self.local()

    def also(self):
        return {}


class Start(Line):
    """Its value is what starting the mount took."""

    name, what, unit, more, most = "start", "exec to the first ls", "ms", False, 20
    with_start = True

    def mount(self, m):
        return m.seconds * 1000


class StartList(Line):
    """The same, of the container: a peer's root is that already."""

    name, what, unit, more = "start-ls", "exec to the first ls of the container", "ms", False
    with_start = True

    def mount(self, m):
        return m.listed * 1000


LINES = (Read, Read4, Reread, Random4, Random64, Write, SmallIn, SmallOut, List5, List20, List100, Warm, Start, StartList)
