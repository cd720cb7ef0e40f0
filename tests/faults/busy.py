"""A busy project for the tests of everup's own death, and what must be true of it afterwards.

Its children keep books of their own (`books`): who started, as which run, and how it was going to end. What everup
tells must agree with them.
"""
import fcntl
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.abspath(__file__)


def in_a_namespace_of_its_own():
    """Runs this script again as PID 1 of a namespace: nothing outside is touched, nothing inside outlives it."""
    if os.getpid() != 1:
        own = ["unshare", "--user", "--map-root-user"] if os.geteuid() != 0 else ["unshare"]
        command = own + ["--pid", "--fork", "--mount", "--mount-proc", "--kill-child", sys.executable] + sys.argv
        os.execvp(command[0], command)


# What the children do.

def note(*words):
    line = " ".join(str(word) for word in words) + "\n"
    with open("books", "ab", buffering=0) as books:
        books.write(line.encode())


def child(what):
    name, run = os.environ["EVERUP_INSTANCE"], int(os.environ["EVERUP_RUN"])
    lock = open("lock." + name.replace("/", "."), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("double", name, run)
    if what == "crash":
        code = run % 90 + 1
        note("start", name, run, f"code:{code}")
        for number in range(20):
            os.write(1 + number % 2, b"run %d line %d\n" % (run, number))
        time.sleep(random.uniform(0.01, 0.2))
        os._exit(code)
    if what == "kill":
        note("start", name, run, "signal:KILL")
        time.sleep(random.uniform(0.05, 0.3))
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "tree":
        note("start", name, run, "code:77")
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        time.sleep(random.uniform(0.2, 0.5))
        os._exit(77)
    if what == "obey":
        def term(*_):
            time.sleep(0.02)
            os._exit(9)

        signal.signal(signal.SIGTERM, term)
        note("start", name, run, "code:9")
        while True:
            time.sleep(100)
    if what == "lines":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        note("start", name, run, "any")
        number = 0
        while not os.path.exists("enough"):
            for _ in range(5):
                os.write(1, b"out %d %s\n" % (number, b"x" * (number % 90)))
                os.write(2, b"err %d\n" % number)
                number += 1
            time.sleep(0.01)
        os.write(1, b"end %d\n" % number)
        os.write(2, b"end %d\n" % number)
        open("written", "w").close()
        time.sleep(1000)


BUSY = """
  lines: {command: CHILD lines, logs: {max_size: 64KiB, keep: 10000}}
  crash: {command: CHILD crash, instances: 3, logs: {max_size: 16KiB, keep: 10000}}
  kill: {command: CHILD kill}
  tree: {command: CHILD tree}
  obey: {command: CHILD obey, instances: 2}
  hooked: {command: CHILD obey, hooks: {before_start: sleep 0.02, after_end: sleep 0.02}}
"""


class Project:
    """A project with everup running it."""

    def __init__(self, everup, steady=0, busy=True):
        self.everup_path = os.path.abspath(everup)
        self.folder = tempfile.mkdtemp(prefix="everup-busy-")
        self.faults = []
        self.asked = {}
        self.over = threading.Event()
        services = BUSY.replace("CHILD", f"{sys.executable} {HERE}") if busy else ""
        services += "".join(f"  s{n}: {{command: sleep 100000}}\n" for n in range(steady))
        with open(self.path("supervisor.yaml"), "w") as file:
            file.write(
                "defaults: {restart: {delay: 10ms, max_delay: 10ms, jitter: 0, limit: {count: 1000000, within: 1h}}, "
                "stop: {timeout: 5s}}\nservices:\n" + services)
        env = dict(os.environ, EVERUP_KILLPOINT=self.path("killpoint"), XDG_RUNTIME_DIR=self.folder)
        self.env = env
        self.said = open(self.path("said"), "w")
        self.up = subprocess.Popen(
            [self.everup_path, "up"], cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=self.said,
            stderr=self.said)
        self.until(lambda: self.status() is not None, "everup to answer")

    def path(self, name):
        return os.path.join(self.folder, name)

    def everup(self, *args, timeout=60):
        return subprocess.run(
            [self.everup_path, *args], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout)

    def status(self):
        answer = self.everup("status", "--json")
        return json.loads(answer.stdout) if answer.returncode in (0, 3) else None

    def engine(self):
        """The engine: the guardian's child that executes everup."""
        guardian = self.up.pid
        with open(f"/proc/{guardian}/task/{guardian}/children") as file:
            for pid in file.read().split():
                try:
                    if os.readlink(f"/proc/{pid}/exe") == self.everup_path:
                        return int(pid)
                except OSError:
                    pass
        return None

    def livez(self, limit=20.0):
        """Asks until there is an answer; how often that broke off."""
        end, broken = time.monotonic() + limit, 0
        while time.monotonic() < end:
            try:
                with socket.socket(socket.AF_UNIX) as line:
                    line.settimeout(limit)
                    line.connect(self.path(".everup/everup.sock"))
                    line.sendall(b"GET /livez HTTP/1.1\r\nHost: everup\r\nConnection: close\r\n\r\n")
                    if line.recv(100).startswith(b"HTTP/1.1 200"):
                        return broken
            except OSError:
                pass
            broken += 1
        self.fault("nobody answers")
        return broken

    def fault(self, what):
        if what not in self.faults:
            self.faults.append(what)

    def until(self, holds, what, limit=30):
        end = time.monotonic() + limit
        while not holds():
            if time.monotonic() > end:
                self.fault(f"waited in vain for {what}")
                return False
            time.sleep(0.005)
        return True

    def people(self):
        """Asks for this and that until `over` is set, in a thread."""
        def ask():
            while not self.over.is_set():
                words = random.choice([
                    ["restart", "obey"], ["restart", "hooked"], ["stop", "obey/1"], ["start", "obey"], ["stop", "hooked"],
                    ["start", "hooked"], ["signal", "HUP", "lines"], ["status", "--json"], ["restart", "crash/2"],
                    ["why", "crash"], ["up", "-d"]])
                try:
                    answer = self.everup(*words)
                except subprocess.TimeoutExpired:
                    self.fault(f"{words} did not end")
                    continue
                key = (words[0], answer.returncode)
                self.asked[key] = self.asked.get(key, 0) + 1
                allowed = [0]
                if words[0] == "status":
                    allowed += [3]
                if words[0] in ("restart", "signal"):
                    allowed += [1, 3]
                if answer.returncode not in allowed:
                    self.fault(f"{words} ended with {answer.returncode}: {answer.stderr.strip()[-300:]}")
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread

    def finish(self):
        """Ends all, and holds what everup tells against the children's books."""
        with open(self.path("enough"), "w"):
            pass
        if os.path.exists(self.path("lock.lines")):
            self.until(lambda: os.path.exists(self.path("written")), "the last line")
            # The line is in its pipe by now.
            self.until(lambda: all(self.log("lines", s).rstrip().split("\n")[-1].startswith("end ")
                                   for s in ("out", "err")), "the last line to be kept")
        answer = self.everup("down", timeout=90)
        if answer.returncode != 0:
            self.fault(f"down ended with {answer.returncode}: {answer.stderr.strip()[-300:]}")
        try:
            self.up.wait(20)
        except subprocess.TimeoutExpired:
            self.fault("everup has not ended")
        if os.getpid() == 1:
            left = self.others()
            if left:
                self.fault(f"left behind: {left}")
                for pid, _ in left:
                    os.kill(pid, signal.SIGKILL)
        return self.audit()

    def others(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            try:
                with open(f"/proc/{pid}/stat") as file:
                    state = file.read().rsplit(") ", 1)[1][0]
                with open(f"/proc/{pid}/cmdline") as file:
                    command = file.read().replace("\0", " ").strip()
            except OSError:
                continue
            if state == "Z":
                # As PID 1 the ends of orphans are ours to take.
                try:
                    os.waitpid(int(pid), os.WNOHANG)
                except ChildProcessError:
                    pass
            else:
                found.append((int(pid), command))
        return found

    def log(self, stem, stream):
        folder = self.path(".everup/logs")
        files = []
        for name in os.listdir(folder):
            match = re.fullmatch(re.escape(f"{stem}.{stream}.log") + r"(?:\.(\d+))?", name)
            if match:
                files.append((int(match[1] or 0), name))
        text = ""
        for _, name in sorted(files, reverse=True):
            with open(os.path.join(folder, name)) as file:
                text += file.read()
        return text

    def messages(self, event):
        with sqlite3.connect(f"file:{self.path('.everup/history.db')}?mode=ro", uri=True) as db:
            return "\n".join(text for (text,) in db.execute("SELECT message FROM events WHERE event = ?", [event]))

    def audit(self):
        """What is wrong is added to `faults`; returns figures."""
        books = [line.split() for line in open(self.path("books"))] if os.path.exists(self.path("books")) else []
        started = {}
        last = {}
        for words in books:
            if words[0] == "double":
                self.fault(f"two of {words[1]} at once: run {words[2]}")
                continue
            name, run, fate = words[1], int(words[2]), words[3]
            if run <= last.get(name, 0):
                self.fault(f"{name}: run {run} after run {last[name]}")
            last[name] = run
            started[name, run] = fate
        right = 0
        with sqlite3.connect(f"file:{self.path('.everup/history.db')}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT service, idx, run, code, signal, cause FROM runs WHERE run IS NOT NULL").fetchall()
            seqs = [seq for (seq,) in db.execute("SELECT seq FROM events ORDER BY seq")]
        ends = {}
        several = {"crash", "obey"}
        for service, index, run, code, how, cause in rows:
            name = f"{service}/{index}" if service in several else service
            ends.setdefault((name, run), []).append((code, how, cause))
        for (name, run), fate in started.items():
            told = ends.get((name, run), [])
            if len(told) != 1:
                self.fault(f"{name} run {run} ended {len(told)} times: {told}")
                continue
            code, how, cause = told[0]
            found = f"signal:{how}" if how else f"code:{code}"
            # Who was stopped may have been ended by that.
            if fate != found and not (fate == "any" or (cause in ("user", "config", "watch") and how in ("TERM", "KILL"))):
                self.fault(f"{name} run {run} ended with {fate} and is told as {found} ({cause})")
                continue
            right += 1
        if seqs and seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            self.fault("events are missing or doubled")
        lines = self.audit_lines(started) if started else 0
        return {"runs": len(started), "right": right, "events": len(seqs), "lines": lines}

    def audit_lines(self, started):
        total = 0
        for stream in ("out", "err"):
            lines = self.log("lines", stream).splitlines()
            if not lines or not lines[-1].startswith("end "):
                self.fault(f"lines.{stream} has no end")
                continue
            wanted = list(range(int(lines.pop().split()[1])))
            found = [int(line.split()[1]) for line in lines]
            if found != wanted:
                odd = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
                self.fault(f"lines.{stream}: {len(found)} of {len(wanted)}, first odd at {odd}: {found[odd:odd + 3]}")
            total += len(found)
        for index in (1, 2, 3):
            stem = "crash" if index == 1 else f"crash.{index}"
            for stream in (0, 1):
                text = self.log(stem, ("out", "err")[stream])
                by_run = {}
                for line in text.splitlines():
                    words = line.split()
                    by_run.setdefault(int(words[1]), []).append(int(words[3]))
                    total += 1
                for (name, run), _ in started.items():
                    found = by_run.get(run, [])
                    whole = list(range(stream, 20, 2))
                    # One that was stopped may have been ended before it wrote all.
                    if name == f"crash/{index}" and found != whole and (index != 2 or found != whole[:len(found)]):
                        self.fault(f"{name} run {run} {('out', 'err')[stream]}: lines {found}")
        return total


if __name__ == "__main__":
    child(sys.argv[1])
