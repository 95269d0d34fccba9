"""Load: Postfix's smtp-source and smtp-sink for rates, and a client of our own for the time that each 250 takes."""

import os
import re
import selectors
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from process import Failed, free_port, listens, wait_for

SENDER, RECIPIENT = "alice@source.test", "bob@sink.test"


class Sink:
    """`smtp-sink`, which counts what it takes."""

    def __init__(self, tools: Path, environment):
        self.port = free_port()
        self.output = tempfile.TemporaryFile()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [tools / "smtp-sink", *user, "-c", f"127.0.0.1:{self.port}", "4096"]
        self.process = subprocess.Popen(
            [str(word) for word in command], env=environment, stdout=self.output, stderr=subprocess.STDOUT
        )
        wait_for("smtp-sink", lambda: listens(self.port))

    def taken(self) -> int:
        """Messages so far. It prints a line over the last one each time it has counted."""
        self.output.seek(0, 2)
        self.output.seek(max(0, self.output.tell() - 200))
        found = re.findall(rb"mesg=\s*(\d+)", self.output.read())
        return int(found[-1]) if found else 0

    def close(self):
        self.process.terminate()
        self.process.wait()


@dataclass
class Rates:
    """Messages per second: until all were acknowledged, and until the sink had all of them."""

    accept: float
    relay: float | None


def drive(tools: Path, environment, port: int, load: "Load", sink: Sink | None) -> Rates:
    """Sends `load` to a server, and waits until `sink`, if there is one, has it."""
    before = sink.taken() if sink else 0
    command = [tools / "smtp-source", "-s", load.sessions, "-m", load.messages, "-l", load.octets]
    command += ["-f", SENDER, "-t", RECIPIENT] + (["-d"] if load.reuses else [])
    begun = time.monotonic()
    done = subprocess.run(
        [str(word) for word in [*command, f"127.0.0.1:{port}"]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    accepted = time.monotonic() - begun
    if done.returncode:
        raise Failed(f"smtp-source: {done.stderr.strip()[:300]}")
    relay = None
    if sink:
        wait_for(
            "the last message at the sink",
            lambda: sink.taken() - before >= load.messages,
            seconds=900,
            pause=0.01,
        )
        relay = load.messages / (time.monotonic() - begun)
    return Rates(load.messages / accepted, relay)


@dataclass(frozen=True)
class Load:
    """How much of what."""

    messages: int
    octets: int = 4096
    sessions: int = 20
    # Whether sessions go on with the next message, or each message has a connection.
    reuses: bool = True

    def __str__(self):
        size = f"{self.octets >> 20} MiB" if self.octets >= 1 << 20 else f"{self.octets >> 10} KiB"
        plural = "session" if self.sessions == 1 else "sessions"
        return f"{size}, {self.sessions} {plural}" + ("" if self.reuses else ", one message each")


class _Session:
    """One connection that sends message after message, and notes how long each 250 took. It never waits: it acts on replies."""

    def __init__(self, port: int, message: bytes):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        # What is sent after each reply, with the reply that it waits for. The first follows the greeting.
        self.transaction = [
            (f"MAIL FROM:<{SENDER}>\r\n".encode(), b"250"),
            (f"RCPT TO:<{RECIPIENT}>\r\n".encode(), b"250"),
            (b"DATA\r\n", b"354"),
            (message, b"250"),
        ]
        self.steps = [(b"", b"220"), (b"EHLO source.test\r\n", b"250")]
        self.begun = 0.0

    def on_readable(self, now: float) -> float | None:
        """Goes on to the next step; the seconds that a message took, if this was the reply to one."""
        self.buffer += self.socket.recv(65536)
        if not self.buffer.endswith(b"\n") or self.buffer.splitlines()[-1][3:4] == b"-":
            return None
        reply, self.buffer = self.buffer, b""
        words, wanted = self.steps.pop(0)
        if not reply.startswith(wanted):
            raise Failed(f"the server said {reply!r}")
        was_message = words is self.transaction[-1][0]
        taken = now - self.begun if was_message else None
        if self.steps:
            self._send()
        return taken

    def _send(self):
        words, _ = self.steps[0]
        self.socket.sendall(words)
        self.begun = time.perf_counter()

    def is_idle(self) -> bool:
        return not self.steps

    def begin(self):
        self.steps = list(self.transaction)
        self._send()


def latencies(port: int, load: Load) -> list[float]:
    """Seconds from the last octet of a message to its 250, in rising order; as many sessions as `load` says at a time."""
    text = b"From: alice@source.test\r\nSubject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * (load.octets // 72) + b".\r\n"
    waiting, taken, left = selectors.DefaultSelector(), [], load.messages
    for _ in range(load.sessions):
        session = _Session(port, text)
        waiting.register(session.socket, selectors.EVENT_READ, session)
    while len(taken) < load.messages:
        for key, _ in waiting.select(60) or _nothing():
            secs = key.data.on_readable(time.perf_counter())
            if secs is not None:
                taken.append(secs)
            if key.data.is_idle() and left > 0:
                key.data.begin()
                left -= 1
    for key in list(waiting.get_map().values()):
        key.data.socket.close()
    return sorted(taken)


def _nothing():
    raise Failed("the server said nothing for a minute")


def quantile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]
