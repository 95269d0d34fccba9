"""A throw-away Postfix, tuned to relay as fast as it can to one host, from Debian's package, installed or unpacked."""

import grp
import os
import pwd
import subprocess
from pathlib import Path

from process import Failed, Server, free_port, listens, wait_for

# What the queue consists of, with the mode of each.
QUEUE = {
    **{name: 0o700 for name in "active bounce corrupt defer deferred flush hold incoming private saved trace".split()},
    "maildrop": 0o730,
    "pid": 0o755,
    "public": 0o710,
}

MAIN = """
compatibility_level = 3.7
command_directory = {package}/sbin
daemon_directory = {package}/lib/postfix/sbin
shlib_directory = {package}/lib/postfix
meta_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
import_environment = MAIL_CONFIG LD_LIBRARY_PATH POSTLOG_SERVICE POSTLOG_HOSTNAME
mail_owner = {owner}
setgid_group = {group}
default_privs = nobody
myhostname = mx.postfix.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{next_hop}
disable_dns_lookups = yes
message_size_limit = 104857600
default_process_limit = 250
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtp_tls_security_level = none
smtpd_tls_security_level = none
in_flow_delay = 0
qmgr_message_active_limit = 100000
qmgr_message_recipient_limit = 100000
default_destination_concurrency_limit = 50
initial_destination_concurrency = 50
smtp_connection_cache_destinations = [127.0.0.1]:{next_hop}
smtp_connection_cache_on_demand = yes
enable_long_queue_ids = yes
{more}
"""

MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Relays everything to `next_hop`, a port on loopback; with `more` lines of main.cf."""

    name = "Postfix"

    def __init__(self, package: Path, folder: Path, next_hop: int, more: str = ""):
        if os.geteuid() != 0:
            raise Failed("Postfix starts as root alone: run this as root, or with --without-postfix")
        self.package, self.folder, self.port = package, folder, free_port()
        owner, group = _owner()
        for name in ("etc", "data", "queue", *(f"queue/{name}" for name in QUEUE)):
            (folder / name).mkdir(parents=True)
        for name, mode in QUEUE.items():
            os.chown(folder / "queue" / name, pwd.getpwnam(owner).pw_uid, -1)
            (folder / "queue" / name).chmod(mode)
        os.chown(folder / "queue/pid", 0, -1)
        for name in ("public", "maildrop"):
            os.chown(folder / "queue" / name, -1, grp.getgrnam(group).gr_gid)
        os.chown(folder / "data", pwd.getpwnam(owner).pw_uid, -1)
        words = {"package": package, "folder": folder, "owner": owner, "group": group}
        text = MAIN.format(next_hop=next_hop, more=more, **words)
        (folder / "etc/main.cf").write_text(text)
        (folder / "etc/master.cf").write_text(MASTER.format(port=self.port))
        self.environment = {
            "MAIL_CONFIG": str(folder / "etc"),
            "LD_LIBRARY_PATH": str(package / "lib/postfix"),
            "POSTLOG_SERVICE": "postlog",
            "POSTLOG_HOSTNAME": "mx.postfix.test",
        }

    def start(self) -> Server:
        self.server = Server(
            [self.package / "lib/postfix/sbin/master", "-d"], self.folder, self.environment
        )
        wait_for("Postfix to listen", lambda: listens(self.port))
        return self.server

    def stop(self):
        self.server.stop()

    def settings(self) -> str:
        """`postconf -n`: what differs from its defaults."""
        done = subprocess.run(
            [self.package / "sbin/postconf", "-n"],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def _owner() -> tuple[str, str]:
    """The user and the group of Postfix if it is installed; else ones that nothing else runs under here."""
    try:
        pwd.getpwnam("postfix"), grp.getgrnam("postdrop")
        return "postfix", "postdrop"
    except KeyError:
        return "games", "staff"
