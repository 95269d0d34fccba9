"""A throw-away `dimed` that takes mail from loopback and relays it to one host."""

import subprocess
from pathlib import Path

from process import Failed, Server, free_port, listens, wait_for

CONFIG = """
[server]
hostname = "mx.dimed.test"
data_directory = "{folder}/data"
master_key_file = "{folder}/master.key"
[listen]
smtp = ["127.0.0.1:{port}"]
dmtp = []
submission = []
submissions = []
operations = []
[dns]
servers = ["{resolver}"]
validation = "ad-bit"
[outbound]
transports = [{{ domains = ["*"], host = "127.0.0.1", port = {next_hop}, tls = "opportunistic" }}]
[limits]
connections = 20000
connections_per_address = 20000
message_bytes = 104857600
[relay]
networks = ["127.0.0.0/8"]
messages_per_hour = 0
recipients_per_hour = 0
[local]
drop = ""
aliases = ""
[log]
format = "json"
{more}
"""


class Dimed:
    """Relays everything to `next_hop`, a port on loopback."""

    name = "dimed"

    def __init__(self, binary: Path, folder: Path, resolver, next_hop: int, more: str = "", is_first: bool = True):
        """With `is_first` false the database is there already, and its master key is in `folder`."""
        self.binary, self.folder = binary, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = folder / "dimed.toml"
        where = f"{resolver.ip}:{resolver.port}"
        text = CONFIG.format(folder=folder, port=self.port, resolver=where, next_hop=next_hop, more=more)
        self.config.write_text(text)
        if is_first:
            self.command("domain", "add", "dimed.test")

    def command(self, *words: str) -> str:
        """Runs a command of the same configuration, and returns what it printed."""
        done = subprocess.run(
            [self.binary, *words, "--config", self.config], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"dimed {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self) -> Server:
        self.server = Server([self.binary, "serve", "--config", self.config], self.folder)
        wait_for("dimed to listen", lambda: listens(self.port))
        return self.server

    def stop(self):
        self.server.stop()
