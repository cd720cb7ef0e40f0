"""Beside an everup whose services die all the time, in a namespace with few process numbers: children come and go here,
take the numbers that its processes leave, and must end only by themselves."""
import os, signal, sys, time

seen, given_again, signalled, made = set(), 0, [], 0
until = time.monotonic() + 30
alive = []
while given_again < 200 and time.monotonic() < until:
    seen |= {int(name) for name in os.listdir("/proc") if name.isdigit()} - set(alive)
    while len(alive) < 40:
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(0.01 * (os.getpid() % 7))
            os._exit(7)
        made += 1
        given_again += pid in seen
        alive.append(pid)
    while alive:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        if pid in alive:
            alive.remove(pid)
            if os.WIFSIGNALED(status):
                signalled.append((pid, os.WTERMSIG(status)))
print(f"{made} bystanders, {given_again} of them under a number that another had before")
if signalled:
    print("signalled:", signalled[:10])
    sys.exit(1)
if given_again < 200:
    print("too few numbers were given out again to prove anything")
    sys.exit(1)
print("no bystander was signalled")
