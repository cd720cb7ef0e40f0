"""Speaks sd_notify(3): each argument is a datagram; `sleep:S` waits, `until:FILE` waits for a file,
`touch:FILE` makes one, `beat` keeps the watchdog fed while a file `beat` is there."""
import os
import socket
import sys
import time

address = os.environ["NOTIFY_SOCKET"]
assert address.startswith("@"), address
line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
line.connect("\0" + address[1:])
with open("address", "w") as file:
    file.write(address)
for word in sys.argv[1:]:
    if word.startswith("sleep:"):
        time.sleep(float(word.removeprefix("sleep:")))
    elif word.startswith("until:"):
        while not os.path.exists(word.removeprefix("until:")):
            time.sleep(0.02)
    elif word.startswith("touch:"):
        open(word.removeprefix("touch:"), "w").close()
    elif word == "beat":
        while os.path.exists("beat"):
            line.send(b"WATCHDOG=1")
            time.sleep(0.05)
    else:
        line.send(word.encode())
time.sleep(1000)
