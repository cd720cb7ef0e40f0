#!/usr/bin/env python3
"""What looking costs: `benches/look.py [SERVICES] [SECONDS]` (100 and 60) starts a project of idle services and measures everup.

Prints the share of a core that everup uses while nobody looks, that time per service and interval, its memory, and how long
/metrics, /v1/overview and the page take and how large they are over the wire. everup is target/release/everup or EVERUP.
"""
import gzip
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVERUP = os.environ.get("EVERUP", str(ROOT / "target/release/everup"))
INTERVAL = 5


def cpu_ns(pid):
    """CPU time of all threads, by the scheduler's own count."""
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, path, headers):
    """(seconds until the whole answer is there, bytes over the wire, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - begun
    connection.close()
    assert answer.status == 200, (path, answer.status, body[:200])
    if answer.getheader("Content-Encoding") == "gzip":
        return took, len(body), gzip.decompress(body)
    return took, len(body), body


def status(folder):
    done = subprocess.run([EVERUP, "status", "--json"], cwd=folder, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        lines = [f"web: {{listen: 127.0.0.1:{port}}}", f"history: {{interval: {INTERVAL}s}}", "services:"]
        lines += [f"  s{number:03}: {{command: sleep infinity}}" for number in range(count)]
        pathlib.Path(folder, "supervisor.yaml").write_text("\n".join(lines) + "\n")
        subprocess.run([EVERUP, "up", "-d", "--wait"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        try:
            measure(folder, port, count, seconds)
        finally:
            subprocess.run([EVERUP, "down"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def measure(folder, port, count, seconds):
    now = status(folder)
    pids = [now["pid"], now["engine_pid"]]
    time.sleep(INTERVAL * 2)
    before, begun = sum(map(cpu_ns, pids)), time.monotonic()
    time.sleep(seconds)
    used, elapsed = sum(map(cpu_ns, pids)) - before, time.monotonic() - begun
    print(f"{count} idle services, nobody looks, {elapsed:.0f} s")
    print(f"  everup's CPU          {used / elapsed / 1e7:.3f} % of a core")
    print(f"  per service, {INTERVAL} s      {used / 1e3 / (elapsed / INTERVAL) / count:.1f} µs, all of it")
    print(f"  resident              {sum(map(resident, pids)) / 1048576:.1f} MiB")
    for path, headers in [("/metrics", {}), ("/metrics", {"Accept-Encoding": "gzip"}), ("/v1/overview", {"Accept-Encoding": "gzip"}),
                          ("/", {"Accept": "text/html", "Accept-Encoding": "gzip"})]:
        answers = [ask(port, path, headers) for _ in range(20)]
        took = statistics.median(answer[0] for answer in answers) * 1e3
        sent, body = answers[-1][1], answers[-1][2]
        print(f"  {path:<20}  {took:.1f} ms, {sent / 1024:.0f} KiB sent, {len(body) / 1024:.0f} KiB")
    print(f"  resident then         {sum(map(resident, pids)) / 1048576:.1f} MiB")
    time.sleep(INTERVAL * 2)
    print(f"  {INTERVAL * 2} s later           {sum(map(resident, pids)) / 1048576:.1f} MiB")


main()
