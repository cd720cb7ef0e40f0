"""Answers over the socket `http` it was handed by LISTEN_FDS, one connection at a time, with its run and process id.

While there is a file named by HOLD, it does not begin; a stop lets the request under way finish.
"""

import os
import signal
import socket
import time

assert os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_PID"]
names = os.environ["LISTEN_FDNAMES"].split(":")
assert len(names) == int(os.environ["LISTEN_FDS"])
listener = socket.socket(fileno=3 + names.index("http"))
assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
while os.path.exists(os.environ.get("HOLD", "no such file")):
    time.sleep(0.01)
body = f"run {os.environ['EVERUP_RUN']} of {os.environ['EVERUP_INSTANCE']}, pid {os.getpid()}"
while True:
    connection, _ = listener.accept()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    connection.recv(1000)
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    connection.close()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
