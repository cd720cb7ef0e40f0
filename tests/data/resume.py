"""A child for the tests of an engine's death.

`terms FILE`: writes a line into FILE for each TERM and lives on.
`lines [PAUSE]`: writes numbered lines to both outputs until a file `enough` is there, then one line `end N`.
`stay FILE`: starts a process in a session of its own, writes both pids into FILE.
"""
import os
import signal
import subprocess
import sys
import time

what, rest = sys.argv[1], sys.argv[2:]
if what == "terms":
    def term(*_):
        with open(rest[0], "a") as file:
            file.write("TERM\n")

    signal.signal(signal.SIGTERM, term)
    open(rest[0] + ".ready", "w").close()
    while True:
        time.sleep(100)
elif what == "lines":
    pause = float(rest[0]) if rest else 0.0005
    number = 0
    while not os.path.exists("enough"):
        for _ in range(5):
            os.write(1, b"out %d %s\n" % (number, b"x" * (number % 90)))
            os.write(2, b"err %d\n" % number)
            number += 1
        time.sleep(pause)
    os.write(1, b"end %d\n" % number)
    os.write(2, b"end %d\n" % number)
    time.sleep(1000)
elif what == "stay":
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(rest[0] + ".new", "w") as file:
        file.write(f"{os.getpid()} {other.pid}")
    os.rename(rest[0] + ".new", rest[0])
    time.sleep(1000)
