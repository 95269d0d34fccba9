"""A throw-away PostgreSQL of its own on a Unix socket, with its defaults: `fsync` and `synchronous_commit` are on."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from process import Failed

ROLE = "dimed"
VERSIONS = Path("/usr/lib/postgresql")
# As tests/support/postgres.rs has it, but for memory.
OPTIONS = "-c listen_addresses= -c max_connections=400 -c shared_buffers=256MB -c unix_socket_permissions=0777"


class Postgres:
    """Its files are in `parent`, on the file system that is measured; its socket is where paths are short enough for one."""

    def __init__(self, parent: Path):
        programs = sorted(VERSIONS.glob("*/bin"), key=lambda path: float(path.parent.name))
        if not programs:
            raise Failed("PostgreSQL is missing (Debian package postgresql)")
        self.programs = programs[-1]
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
        self.socket = Path(tempfile.mkdtemp(prefix="dimed-bench-"))
        for folder in (self.folder, self.socket):
            self._give_away(folder)
        self._run("initdb", "-D", "data", "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-locale")
        options = f"{OPTIONS} -c unix_socket_directories={self.socket}"
        self._run("pg_ctl", "-s", "-w", "-D", "data", "-l", "log", "-o", options, "start")

    def database(self, name: str) -> str:
        """Makes an empty database; how it is named in a configuration."""
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
        return f"postgres://{ROLE}@{str(self.socket).replace('/', '%2F')}/{name}"

    def sql(self, database: str, sql: str) -> str:
        """What `psql` prints, without headings."""
        return self._run("psql", "-X", "-q", "-A", "-t", "-U", ROLE, "-h", self.socket, "-d", database, "-c", sql).strip()

    def close(self):
        self._run("pg_ctl", "-s", "-D", "data", "-m", "fast", "stop")
        shutil.rmtree(self.socket)

    def _give_away(self, folder: Path):
        os.chmod(folder, 0o755)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)

    def _run(self, program: str, *words) -> str:
        # PostgreSQL does not run as root.
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] if os.geteuid() == 0 else []
        command = [*user, self.programs / program, *words]
        # The server that pg_ctl starts would keep a pipe open.
        output = tempfile.TemporaryFile()
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        said = output.read().decode(errors="replace")
        if done.returncode:
            raise Failed(f"{program}: {said.strip()[-300:]}")
        return said
