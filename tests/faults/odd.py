"""A service with odd descendants; each word says what to start, in order.

plain:FILE    a child
session:FILE  a child in a session of its own
bare:FILE     a child in a session of its own and without any environment
daemon:FILE   a daemon: two forks, a session of its own, nothing open
leave:FILE    a daemon that moves itself into the root of the cgroup v2 tree first
storm:FILE    two hundred daemons; FILE lists them
deaf          TERM is ignored from here on
exit:CODE     the main process ends
stay          the main process waits

Each start first looks for processes of an earlier one that still live, and lists them in the file `beside`.
"""
import glob, os, signal, sys


def sleep_for_ever():
    while True:
        signal.pause()


def detach():
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def note(file, mode="w"):
    with open(file + ".new" if mode == "w" else file, mode) as out:
        out.write(f"{os.getpid()}\n")
    if mode == "w":
        os.rename(file + ".new", file)


def daemon(prepare, file, mode="w"):
    if os.fork():
        os.wait()
        while mode == "w" and not os.path.exists(file):
            pass
        return
    detach()
    if os.fork():
        os._exit(0)
    prepare()
    note(file, mode)
    sleep_for_ever()


def leave():
    for folder in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        try:
            with open(folder + "/cgroup.procs", "w") as procs:
                procs.write("0")
            return
        except OSError:
            pass


def look_for_others():
    for name in glob.glob("*.pid"):
        for pid in open(name).read().split():
            try:
                state = open(f"/proc/{pid}/stat").read().rsplit(") ")[1][0]
            except OSError:
                continue
            if state != "Z":
                with open("beside", "a") as out:
                    out.write(f"{name} {pid}\n")


look_for_others()
for word in sys.argv[1:]:
    word, _, what = word.partition(":")
    if os.path.exists(what):
        os.remove(what)
    if word in ("plain", "session", "bare"):
        if os.fork() == 0:
            if word != "plain":
                detach()
            note(what)
            if word == "bare":
                os.execve("/bin/sleep", ["sleep", "1000"], {})
            sleep_for_ever()
        while not os.path.exists(what):
            pass
    elif word == "daemon":
        daemon(lambda: None, what)
    elif word == "leave":
        daemon(leave, what)
    elif word == "storm":
        for _ in range(200):
            daemon(lambda: None, what, "a")
    elif word == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif word == "exit":
        sys.exit(int(what))
    elif word == "stay":
        print("stays", flush=True)
        sleep_for_ever()
