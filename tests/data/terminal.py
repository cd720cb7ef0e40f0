"""A program that cares about its terminal: `terminal.py` talks, `terminal.py raw` takes keys as they come."""
import os
import signal
import sys
import termios
import time
import tty


def size(*_):
    lines = os.get_terminal_size(0)
    print(f"size {lines.lines}x{lines.columns}", flush=True)


def interrupted(*_):
    print("INT came", flush=True)
    if "deaf" not in sys.argv:
        sys.exit(5)


signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGWINCH, size)
print("terminals", [os.isatty(fd) for fd in (0, 1, 2)], "leads", os.getsid(0) == os.getpid(), flush=True)
print("foreground", os.tcgetpgrp(0) == os.getpgrp(), flush=True)
size()
if "raw" in sys.argv:
    tty.setraw(0)
    print("waiting for a key", flush=True)
    print("key", os.read(0, 1), flush=True)
    sys.exit(6)
if "crash" in sys.argv and os.environ["EVERUP_RUN"] == "1":
    print("crashing", flush=True)
    sys.exit(1)
print("ready", flush=True)
for line in sys.stdin:
    print("got", line.strip(), flush=True)
    if line.strip() == "end":
        sys.exit(7)
time.sleep(1000)
