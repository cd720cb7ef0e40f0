"""A service of the soak: keeps its own books, against which everup's are held.

Each start, and each end that it knows of, is a line in `ledger/NAME`. Each line on stdout has its number within the run
and is one write(2), short enough to be whole or not at all; `count/NAME.RUN` says how many there are.
"""
import os, random, signal, socket, sys, time

name, kind = sys.argv[1], sys.argv[2]
run = os.environ["EVERUP_RUN"]
dice = random.Random(f"{name} {run}")


def note(text):
    fd = os.open(f"ledger/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, f"{run} {os.getpid()} {text}\n".encode())
    os.close(fd)


def leave(code):
    note(f"end {code}")
    os._exit(code)


signal.signal(signal.SIGTERM, lambda *_: leave(0))
note("start")
written = 0


def say(text=""):
    """One numbered line."""
    global written
    os.write(1, f"{name} {run} {written} {text}\n".encode())
    written += 1
    # A kill between the two leaves it one behind.
    os.pwrite(count, f"{run:>8} {written:>12}\n".encode(), 0)


count = os.open(f"count/{name}.{run}", os.O_WRONLY | os.O_CREAT, 0o644)
begun = time.monotonic()
life = dice.uniform(5, 60)
if kind == "hang":
    door = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
    door.settimeout(0.2)
while True:
    age = time.monotonic() - begun
    if kind == "quiet":
        say("tick")
        time.sleep(1)
    elif kind == "crash":
        say("tick")
        time.sleep(0.2)
        if age > life:
            if dice.random() < 0.5:
                leave(dice.randrange(1, 100))
            note("kill")
            os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "flood":
        for _ in range(2_000):
            say("x" * dice.randrange(10, 200))
        time.sleep(5)
    elif kind == "hang":
        try:
            visitor, _ = door.accept()
            visitor.close()
        except OSError:
            pass
        if int(age) % 2 == 0:
            say("asked")
        if age > life:
            door.close()
            note("hang")
            time.sleep(3600)
