"""Lets system calls of a program and all below it fail, as long as a file says so.

    inject.py FILE CALL[,CALL…] COMMAND…

FILE holds lines like `pidfd_open ENOSYS`, or `openat ENOENT cgroup.kill` for paths with this end, or `main clone3 ENOMEM`
for COMMAND's own process alone; it may appear, change and go at any time. COMMAND is executed in this very process; a helper answers the kernel's questions (seccomp user
notifications) until the last of them has ended. Linux 5.0 on x86-64.
"""
import array, ctypes, errno, fcntl, os, select, socket, struct, sys

NUMBERS = {"openat": 257, "clone3": 435, "clone": 56, "pidfd_open": 434, "getpgid": 121}
PATH_ARGUMENT = {"openat": 1}
RECEIVE, SEND = 0xC0502100, 0xC0182101
libc = ctypes.CDLL(None, use_errno=True)


def install(numbers):
    """Has the kernel ask about these calls; the descriptor it asks on."""
    code = [(0x20, 0, 0, 0)]  # the call's number
    for number in numbers:
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x7FC00000)]  # is it this one? ask
    code += [(0x06, 0, 0, 0x7FFF0000)]  # let it pass
    raw = b"".join(struct.pack("HBBI", *line) for line in code)
    kept = ctypes.create_string_buffer(raw, len(raw))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(kept))
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: asked of those who are not root
    fd = libc.syscall(317, 1, 8, ctypes.create_string_buffer(program, len(program)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def rules(path):
    try:
        with open(path) as file:
            return [line.split() for line in file if line.split()]
    except OSError:
        return []


def text_at(pid, address):
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            memory.seek(address)
            return memory.read(4096).split(b"\0", 1)[0].decode(errors="replace")
    except OSError:
        return ""


def verdict(path, main, pid, name, arguments):
    for rule in rules(path):
        if rule[0] == "main":
            if pid != main:
                continue
            rule = rule[1:]
        call, error, *ending = rule
        if call != name:
            continue
        if ending and not text_at(pid, arguments[PATH_ARGUMENT[name]]).endswith(ending[0]):
            continue
        return -getattr(errno, error)
    return None


def answer(fd, path, main):
    names = {number: name for name, number in NUMBERS.items()}
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        for _, what in poll.poll():
            if not what & select.POLLIN:
                return  # nobody is left to ask
        question = bytearray(80)
        try:
            fcntl.ioctl(fd, RECEIVE, question)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                continue
            return
        identity, pid, _, number = struct.unpack_from("QIIi", question)
        arguments = struct.unpack_from("6Q", question, 32)
        failed = verdict(path, main, pid, names.get(number), arguments)
        reply = struct.pack("QqiI", identity, 0, failed or 0, 0 if failed else 1)
        try:
            fcntl.ioctl(fd, SEND, bytearray(reply))
        except OSError:
            pass  # it was killed meanwhile


def main():
    path, calls, command = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]
    ours, theirs = socket.socketpair()
    main = os.getpid()
    if os.fork() == 0:
        # A grandchild, so that the program has no child that it does not know.
        if os.fork() == 0:
            os.setsid()
            ours.close()
            fds = array.array("i")
            _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
            fds.frombytes(ancillary[0][2][:4])
            null = os.open("/dev/null", os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            theirs.send(b"!")
            theirs.close()
            answer(fds[0], path, main)
        os._exit(0)
    os.wait()
    theirs.close()
    fd = install([NUMBERS[name] for name in calls.split(",")])
    socket.send_fds(ours, [b"?"], [fd])
    ours.recv(1)
    ours.close()
    os.close(fd)
    os.execvp(command[0], command)


main()
