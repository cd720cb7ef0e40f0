"""Runs a command on a pseudo-terminal of 33 x 111 characters, as a shell does: `pty.py STEP... -- COMMAND...`.

A step is `expect:TEXT` (wait until the output, from where the last one was found, holds it), `send:TEXT` (type it;
`^C` and `^Z` are these keys), `size:ROWSxCOLUMNS`, `save:FILE` (save this file as app.py), `stopped:N` (wait until N
processes below the command are there and all are stopped), `going:N` (and none is), `keys:` (wait until the terminal
passes on keys as they come), `lines:` (wait until it does not) or `leave:` (close the terminal and wait for nothing).
Prints JSON: the exit code as a shell gives it, the output, the step that did not come true (or null), and whether the
terminal's settings are as they were.
"""
import fcntl
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 40


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def lead(slave, report, command):
    """The session's leader: waits for the command, then looks at the terminal."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    # A handler, unlike "ignored", does not reach the command.
    signal.signal(signal.SIGINT, lambda *_: None)
    before = termios.tcgetattr(0)
    code = subprocess.run(command).returncode
    told = {"code": 128 - code if code < 0 else code, "restored": termios.tcgetattr(0) == before}
    os.write(report, json.dumps(told).encode())
    os._exit(0)


cut = sys.argv.index("--")
steps, command = sys.argv[1:cut], sys.argv[cut + 1:]
# Whoever started the tests may ignore hangups; a terminal's programs do not.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
master, slave = os.openpty()
resize(slave, 33, 111)
told_by, report = os.pipe()
leader = os.fork()
if leader == 0:
    os.close(master)
    os.close(told_by)
    lead(slave, report, command)
os.close(slave)
os.close(report)

output, seen, failed = b"", 0, None


def read(wait):
    """Takes what is there; false once the terminal is closed."""
    global output
    if not select.select([master], [], [], wait)[0]:
        return True
    try:
        output += os.read(master, 65536)
        return True
    except OSError:
        return False


def states(pid):
    """The states of all processes below this one, but of everup's undertaker, which no key reaches."""
    found = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/environ", "rb") as file:
                if b"EVERUP_ROLE=undertaker" in file.read():
                    continue
            with open(f"/proc/{child}/stat") as file:
                found.append(file.read().rpartition(") ")[2][0])
            found += states(child)
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        pass
    return found


def holds(word, text):
    if word in ("keys", "lines"):
        return bool(termios.tcgetattr(master)[3] & termios.ICANON) == (word == "lines")
    # The first is the command itself.
    found = states(leader)[1:]
    return len(found) == int(text) and all((state == "T") == (word == "stopped") for state in found)


for step in steps:
    word, _, text = step.partition(":")
    if word == "send":
        os.write(master, text.replace("^C", "\x03").replace("^Z", "\x1a").encode())
    elif word == "leave":
        # The window is closed.
        print(json.dumps({"output": output.decode(errors="replace"), "failed": None}))
        sys.exit()
    elif word == "save":
        shutil.copyfile(text, "app.py")
    elif word == "size":
        resize(master, *map(int, text.split("x")))
    elif word in ("stopped", "going", "keys", "lines"):
        until = time.monotonic() + PATIENCE
        while not holds(word, text) and time.monotonic() < until and read(0.05):
            pass
        if not holds(word, text):
            failed = f"{step} {states(leader)}"
            os.kill(leader, signal.SIGHUP)
            break
    else:
        until = time.monotonic() + PATIENCE
        while (at := output.find(text.encode(), seen)) < 0 and time.monotonic() < until and read(0.1):
            pass
        if at < 0:
            failed = step
            os.kill(leader, signal.SIGHUP)
            break
        seen = at + len(text)
until = time.monotonic() + PATIENCE
while read(0.1) and not select.select([told_by], [], [], 0)[0] and time.monotonic() < until:
    pass
read(0)
told = json.loads((os.read(told_by, 65536) if select.select([told_by], [], [], 0)[0] else b"") or b"{}")
print(json.dumps({**told, "output": output.decode(errors="replace"), "failed": failed}))
