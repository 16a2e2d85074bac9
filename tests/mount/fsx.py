#!/usr/bin/python3
"""Random operations on a few files of a directory against a model. Usage: fsx.py DIRECTORY SEED STEPS [MAX_SIZE]"""
import os
import random
import sys


class Fsx:
    def __init__(self, root, seed, max_size=300_000, files=4):
        self.root, self.seed, self.max = root, seed, max_size
        self.rnd = random.Random(seed)
        self.names = [f"f{i}" for i in range(files)]
        self.model: dict[str, bytes] = {}
        self.fds: dict[str, int] = {}
        self.step = 0

    def path(self, name):
        return os.path.join(self.root, name)

    def fail(self, text):
        raise AssertionError(f"{text} at step {self.step} of seed {self.seed}")

    def same(self, name, got, want):
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            self.fail(f"{name}: {len(got)} bytes, {len(want)} expected, first difference at {at}")

    def put(self, name, off, data):
        old = self.model.get(name, b"")
        old += bytes(max(0, off - len(old)))
        self.model[name] = old[:off] + data + old[off + len(data):]

    def resize(self, name, size):
        self.model[name] = self.model[name][:size].ljust(size, b"\0")

    def handle(self, name):
        if name not in self.fds:
            self.fds[name] = os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o644)
            self.model.setdefault(name, b"")
        return self.fds[name]

    def drop(self, name):
        if name in self.fds:
            os.close(self.fds.pop(name))

    def op_write(self, name):
        off, data = self.rnd.randrange(self.max), self.rnd.randbytes(self.rnd.choice([1, 100, 4096, 70_000, 200_000]))
        os.pwrite(self.handle(name), data, off)
        self.put(name, off, data)

    def op_ftruncate(self, name):
        size = self.rnd.randrange(self.max)
        os.ftruncate(self.handle(name), size)
        self.resize(name, size)

    def op_fsync(self, name):
        os.fsync(self.handle(name))

    def op_pread(self, name):
        off, size = self.rnd.randrange(self.max), self.rnd.choice([1, 100, 5000, 100_000])
        self.same(name, os.pread(self.handle(name), size, off), self.model[name][off:off + size])

    def op_append(self, name):
        data = self.rnd.randbytes(self.rnd.choice([1, 3000, 60_000]))
        with open(self.path(name), "ab") as f:
            f.write(data)
        self.put(name, len(self.model.get(name, b"")), data)

    def op_replace(self, name):
        data = self.rnd.randbytes(self.rnd.choice([0, 1, 3000, 60_000]))
        with open(self.path(name), "wb") as f:
            f.write(data)
        self.model[name] = data

    def op_truncate(self, name):
        if name in self.model:
            size = self.rnd.randrange(self.max)
            os.truncate(self.path(name), size)
            self.resize(name, size)

    def op_read(self, name):
        if name in self.model:
            with open(self.path(name), "rb") as f:
                self.same(name, f.read(), self.model[name])
        elif os.path.exists(self.path(name)):
            self.fail(f"{name} exists")

    def op_close(self, name):
        self.drop(name)

    def op_unlink(self, name):
        if name in self.model and self.rnd.random() < .4:
            self.drop(name)
            os.unlink(self.path(name))
            del self.model[name]

    def op_rename(self, name):
        target = self.rnd.choice(self.names)
        if name not in self.model or target == name or self.rnd.random() < .4:
            return
        self.drop(target)
        os.rename(self.path(name), self.path(target))
        self.model[target] = self.model.pop(name)
        if name in self.fds:
            self.fds[target] = self.fds.pop(name)

    def op_stat(self, name):
        if name in self.model and (size := os.stat(self.path(name)).st_size) != len(self.model[name]):
            self.fail(f"{name}: size {size}, {len(self.model[name])} expected")

    def op_utime(self, name):
        if name in self.model:
            t = self.rnd.randrange(10**18, 2 * 10**18)
            os.utime(self.path(name), ns=(t, t))
            if (got := os.stat(self.path(name)).st_mtime_ns) != t:
                self.fail(f"{name}: mtime {got}, {t} expected")

    def op_list(self, _name):
        if (got := sorted(os.listdir(self.root))) != sorted(self.model):
            self.fail(f"{got} listed, {sorted(self.model)} expected")

    def run(self, steps):
        ops = [getattr(self, n) for n in sorted(dir(self)) if n.startswith("op_")] + [self.op_write] * 2
        for self.step in range(steps):
            self.rnd.choice(ops)(self.rnd.choice(self.names))
        for name in list(self.fds):
            self.drop(name)
        for name in self.model:
            self.op_read(name)
        for name in list(self.model):
            os.unlink(self.path(name))


if __name__ == "__main__":
    Fsx(sys.argv[1], int(sys.argv[2]), *(int(a) for a in sys.argv[4:5])).run(int(sys.argv[3]))
    print(f"{sys.argv[3]} steps of seed {sys.argv[2]}: ok")
