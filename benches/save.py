#!/usr/bin/env python3
"""Save to first instruction: `benches/save.py [SAVES]` measures everup dev beside nodemon and watchexec, in one run.

Each watcher has a folder with one file and runs a small C program that writes down its first moment. Saves are in place,
spread with random pauses; the figure is from close(2) of the save to the first instruction of the next program. Needs cc;
peers are taken from PATH (or NODEMON, WATCHEXEC), those that are missing are left out. everup is target/release/everup or EVERUP.
"""
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

CHILD = """
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
int main(int n, char **v) {
    struct timespec now; clock_gettime(CLOCK_MONOTONIC, &now);
    int fd = open(v[1], O_WRONLY | O_APPEND); write(fd, &now, sizeof now); close(fd);
    for (;;) pause();
}
"""
ROOT = pathlib.Path(__file__).resolve().parent.parent
EVERUP = os.environ.get("EVERUP", str(ROOT / "target/release/everup"))


class Watcher:
    def __init__(self, base, child, name, command):
        self.name, self.folder = name, base / name.replace(" ", "-")
        (self.folder / "src").mkdir(parents=True)
        self.file, self.seen = self.folder / "src/app.py", self.folder / "seen"
        self.file.write_text("0\n")
        self.seen.write_bytes(b"")
        self.times, self.saved = [], None
        argv = command(self.folder, [child, str(self.seen)])
        env = {**os.environ, "XDG_RUNTIME_DIR": str(self.folder)}
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(argv, cwd=self.folder / "src", env=env, stdin=quiet, stdout=quiet, stderr=quiet)

    def starts(self):
        data = self.seen.read_bytes()
        words = [int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8)]
        return [s * 1_000_000_000 + ns for s, ns in zip(words[::2], words[1::2])]

    def save(self, number):
        with open(self.file, "w") as file:
            file.write(f"{number}\n")
        self.saved = time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def wait(self, count, seconds=15):
        until = time.monotonic() + seconds
        while len(self.starts()) < count and time.monotonic() < until:
            time.sleep(0.001)
        return len(self.starts()) >= count


def everup(debounce):
    def command(folder, child):
        words = ", ".join(f'"{word}"' for word in child)
        text = f'services:\n  app: {{command: [{words}], logs: none, watch: {{paths: [src]{debounce}}}}}\n'
        (folder / "supervisor.yaml").write_text(text)
        return [EVERUP, "dev", "-c", str(folder / "supervisor.yaml")]
    return command


def main():
    saves = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    base = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    child = str(base / "child")
    subprocess.run(["cc", "-O2", "-x", "c", "-", "-o", child], input=CHILD.encode(), check=True)
    wanted = {"everup dev": everup(""), "everup dev, debounce 0": everup(", debounce: 0ms")}
    nodemon = os.environ.get("NODEMON") or shutil.which("nodemon")
    watchexec = os.environ.get("WATCHEXEC") or shutil.which("watchexec")
    if nodemon:
        wanted["nodemon"] = lambda _, argv: [nodemon, "-q", "--watch", ".", "--ext", "py", "--exec", " ".join(argv)]
    if watchexec:
        wanted["watchexec"] = lambda _, argv: [watchexec, "-q", "-r", "-w", ".", "--"] + argv
    all_of_them = [Watcher(base, child, name, command) for name, command in wanted.items()]
    try:
        for watcher in all_of_them:
            if not watcher.wait(1):
                sys.exit(f"{watcher.name} did not start anything")
        time.sleep(3)
        for number in range(1, saves + 1):
            for watcher in all_of_them:
                time.sleep(random.uniform(0.4, 1.2))
                before = len(watcher.starts())
                watcher.save(number)
                if watcher.wait(before + 1):
                    watcher.times.append((watcher.starts()[before] - watcher.saved) / 1e6)
            print(f"\r{number} of {saves} saves", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    finally:
        for watcher in all_of_them:
            watcher.process.terminate()
            watcher.process.wait()
        shutil.rmtree(base, ignore_errors=True)
    print(f"{'':24} {'median':>8} {'min':>8} {'max':>8}  ms, {saves} saves")
    for watcher in all_of_them:
        times = watcher.times or [float("nan")]
        missed = saves - len(watcher.times)
        note = f"  {missed} missed" if missed else ""
        print(f"{watcher.name:24} {statistics.median(times):8.1f} {min(times):8.1f} {max(times):8.1f}{note}")


if __name__ == "__main__":
    main()
