#!/usr/bin/env python3
"""Measures `dimed` beside Postfix on this machine, in one run, and prints tables in Markdown.

    cargo build --release --locked
    tests/run                                # once, to unpack Postfix into target/peers
    sudo benches/server/run.py               # or with --quick

The part `cluster` needs PostgreSQL (Debian package), which it starts for itself, and is about `dimed` alone.

Both take mail from loopback without login and relay all of it to one `smtp-sink`, both on the same file system, both
syncing what they acknowledge. They take turns, so that what disturbs one disturbs the other. Nothing leaves loopback.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import cluster
import footprint
from dimed import Dimed
from dns import Resolver
from load import Load, Sink, drive, latencies, quantile
from postfix import Postfix
from process import Failed, free_port

ROOT = Path(__file__).resolve().parents[2]

RELAYS = [
    Load(2000, sessions=1),
    Load(6000),
    Load(6000, sessions=200),
    Load(3000, reuses=False),
    Load(1000, octets=100 << 10),
    Load(40, octets=10 << 20, sessions=4),
]
ACCEPTS = [Load(2000, sessions=1), Load(6000), Load(6000, sessions=200)]
LATENCIES = [Load(1000, sessions=1), Load(4000), Load(4000, sessions=200)]


def main() -> int:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder))
    os.chmod(folder, 0o755)
    try:
        measure(options, folder)
        return 0
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        for log in folder.glob("*/log"):
            print(f"-- {log}\n{tail(log)}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(folder)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimed", type=Path, default=ROOT / "target/release/dimed", help="the binary")
    parser.add_argument("--postfix", type=Path, default=ROOT / "target/peers/postfix/usr", help="where its package is")
    parser.add_argument("--folder", type=Path, default=ROOT / "target", help="where the spools are made")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement; medians are printed")
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, one round")
    parser.add_argument("--only", choices=["relay", "accept", "latency", "footprint", "cluster"], action="append")
    parser.add_argument("--queued", type=int, default=1_000_000, help="messages of the long queue")
    parser.add_argument("--without-postfix", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the folder with spools and logs")
    options = parser.parse_args()
    for path in (options.dimed, options.postfix / "sbin/smtp-source"):
        if not path.exists():
            parser.error(f"there is no {path}")
    return options


def measure(options, folder: Path):
    bench = Bench(options, folder)
    parts = {
        "relay": bench.relay,
        "accept": bench.accept,
        "latency": bench.latency,
        "footprint": bench.footprint,
        "cluster": bench.cluster,
    }
    for name, part in parts.items():
        if not options.only or name in options.only:
            part()
    bench.close()


class Bench:
    """One run: its tools, its resolver, its sink."""

    def __init__(self, options, folder: Path):
        self.options, self.folder = options, folder
        self.tools = options.postfix / "sbin"
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(options.postfix / "lib/postfix")}
        # smtp-source and smtp-sink read main.cf, too.
        (folder / "tools").mkdir()
        (folder / "tools/main.cf").write_text("compatibility_level = 3.7\ninet_protocols = ipv4\n")
        self.environment["MAIL_CONFIG"] = str(folder / "tools")
        self.resolver = Resolver()
        self.sink = Sink(self.tools, self.environment)
        self.rounds = 1 if options.quick else options.rounds
        self.made = 0

    def close(self):
        self.sink.close()
        self.resolver.close()

    def scaled(self, load: Load) -> Load:
        few = max(load.sessions, load.messages // 10)
        return Load(few, load.octets, load.sessions, load.reuses) if self.options.quick else load

    def new_folder(self, name: str) -> Path:
        self.made += 1
        return self.folder / f"{name}{self.made}"

    def dimed(self, next_hop: int, more: str = "") -> Dimed:
        return Dimed(self.options.dimed, self.new_folder("dimed"), self.resolver, next_hop, more)

    def postfix(self, next_hop: int, more: str = "") -> Postfix:
        return Postfix(self.options.postfix, self.new_folder("postfix"), next_hop, more)

    def servers(self, next_hop: int, of_postfix: str = "", of_dimed: str = ""):
        both = [] if self.options.without_postfix else [self.postfix(next_hop, of_postfix)]
        return [*both, self.dimed(next_hop, of_dimed)]

    def in_turns(self, servers, loads, measure_one):
        """For each load, the results of each server: one server runs at a time, each load in several rounds."""
        results = {load: {server.name: [] for server in servers} for load in loads}
        for _ in range(self.rounds):
            for load in loads:
                for server in servers:
                    server.start()
                    try:
                        results[load][server.name].append(measure_one(server, self.scaled(load)))
                    finally:
                        server.stop()
        return results

    def relay(self):
        servers = self.servers(self.sink.port)
        for server in servers:
            if server.name == "Postfix":
                print("`postconf -n` of Postfix:\n\n" + indented(server.settings()))

        results = self.in_turns(servers, RELAYS, lambda server, load: self.drive(server, load, self.sink))
        table("Accepted and relayed, messages/s", medians(results, lambda rates: rates.relay))
        table("Accepted meanwhile, messages/s", medians(results, lambda rates: rates.accept))

    def drive(self, server, load: Load, sink):
        return drive(self.tools, self.environment, server.port, load, sink)

    def accept(self):
        """Taken in alone: nobody listens where it is to go, and Postfix does not even try."""
        servers = self.servers(free_port(), "defer_transports = smtp, relay\n")
        results = self.in_turns(servers, ACCEPTS, lambda server, load: self.drive(server, load, None))
        table("Accepted alone, messages/s", medians(results, lambda rates: rates.accept))

    def latency(self):
        servers = self.servers(self.sink.port)
        results = self.in_turns(servers, LATENCIES, lambda server, load: latencies(server.port, load))
        for share in (0.5, 0.99):
            title = f"Time of the 250 while relaying, p{share * 100:.0f}, ms"
            table(title, medians(results, lambda secs, share=share: quantile(secs, share) * 1000))

    def footprint(self):
        footprint.print_all(self)

    def cluster(self):
        cluster.print_all(self)


def medians(results, figure):
    """For each load and server, the median of that figure over the rounds."""
    return {
        load: {name: statistics.median(map(figure, taken)) for name, taken in of.items()}
        for load, of in results.items()
    }


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def table(title: str, rows):
    """Prints one row a load, one column a server, and by how much the last one differs from the first."""
    names = list(next(iter(rows.values())))
    print(f"| {title} | " + " | ".join(names) + (" | ratio |" if len(names) > 1 else " |"))
    print("|---" * (len(names) + 1 + (len(names) > 1)) + "|")
    for load, of in rows.items():
        values = [of[name] for name in names]
        cells = [f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in values]
        ratio = [f"{values[-1] / values[0]:.2f}"] if len(values) > 1 else []
        print(f"| {load} | " + " | ".join(cells + ratio) + " |")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
