"""What the servers under test have in common: a folder, a log, a port, an end."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path


class Failed(Exception):
    """Something that the measurement needs did not work."""


def free_port(ip: str = "127.0.0.1") -> int:
    with socket.create_server((ip, 0)) as listener:
        return listener.getsockname()[1]


def wait_for(what: str, ready, seconds: float = 30.0, pause: float = 0.05):
    """Waits until `ready()` is true, and returns what it said."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(pause)
    raise Failed(f"waited {seconds:.0f} s for {what}")


def listens(port: int, ip: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((ip, port), 1).close()
        return True
    except OSError:
        return False


class Server:
    """A process in its own session, so that its children end with it."""

    def __init__(self, command, folder: Path, environment=None, stderr=None):
        self.log = open(folder / "log", "ab") if stderr is None else stderr
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(environment or {})},
            stdout=self.log,
            stderr=self.log,
            cwd=folder,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def resident_mib(self) -> float:
        """Resident memory of the process (not of children), as the kernel counts it."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise Failed("the process has no memory")

    def processor_secs(self) -> float:
        """Processor time of the process so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
