"""Memory and start-up: idle, with 10,000 idle sessions, with a long queue."""

import resource
import socket
import statistics
import time

from load import Load, drive
from process import Failed, free_port

IDLE_SESSIONS, GREETED = 10_000, 50
GREETING_SECS = 30


def print_all(bench):
    """Prints what `bench`'s daemon needs; Postfix has no process to compare it with."""
    raise_open_files(IDLE_SESSIONS + 1000)
    idle(bench)
    sessions(bench, IDLE_SESSIONS // (10 if bench.options.quick else 1))
    queue(bench, bench.options.queued // (100 if bench.options.quick else 1))


def raise_open_files(wanted: int):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Failed(f"{wanted} open files are needed, and {hard} allowed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def greeted(port: int) -> tuple[socket.socket, float]:
    """A session and the seconds until its greeting."""
    begun = time.perf_counter()
    session = socket.create_connection(("127.0.0.1", port), GREETING_SECS)
    if not session.recv(512).startswith(b"220"):
        raise Failed("no greeting")
    return session, time.perf_counter() - begun


def idle(bench):
    dimed = bench.dimed(bench.sink.port)
    server = dimed.start()
    time.sleep(10)
    print(f"Idle daemon: {server.resident_mib():.1f} MiB\n", flush=True)
    dimed.stop()


def sessions(bench, count: int):
    dimed = bench.dimed(bench.sink.port)
    server = dimed.start()
    kept = []
    for _ in range(count):
        session, _ = greeted(dimed.port)
        session.sendall(b"EHLO source.test\r\n")
        session.recv(1024)
        kept.append(session)
    time.sleep(2)
    memory = server.resident_mib()
    waits = []
    for _ in range(GREETED):
        session, secs = greeted(dimed.port)
        session.close()
        waits.append(secs * 1000)
    print(
        f"{count:,} idle sessions: {memory:.1f} MiB; new ones greeted after "
        f"{statistics.median(waits):.1f} ms (median), {max(waits):.1f} ms (longest of {GREETED})\n",
        flush=True,
    )
    for session in kept:
        session.close()
    dimed.stop()


def queue(bench, count: int):
    """A queue that nobody takes: how long a start takes until the greeting, and the memory a while later."""
    dimed = bench.dimed(free_port())
    dimed.start()
    drive(bench.tools, bench.environment, dimed.port, Load(count, sessions=50), None)
    dimed.stop()
    begun = time.monotonic()
    server = dimed.start()
    greeted(dimed.port)[0].close()
    started = time.monotonic() - begun
    time.sleep(10)
    print(
        f"{count:,} messages queued: started in {started:.2f} s, {server.resident_mib():.1f} MiB ten seconds later\n",
        flush=True,
    )
    dimed.stop()
