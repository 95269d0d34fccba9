"""What a second and a third node add: `dimed` on one database of PostgreSQL, everything on this machine.

The load is shared out among the nodes; each takes its part in, and delivers what any of them has taken.
"""

import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from dimed import Dimed
from load import Load, Rates, Sink, drive
from postgres import Postgres
from process import wait_for

LOAD = Load(6000)
NODES = (1, 2, 3)


class Cluster:
    """So many nodes on a database of their own."""

    def __init__(self, bench, postgres: Postgres, count: int):
        self.bench = bench
        where = postgres.database(f"bench{bench.made}")
        first = None
        self.nodes = []
        for number in range(count):
            more = f'[storage]\ndatabase = "{where}"\n'
            folder = bench.new_folder("node")
            if first:
                (folder / "data").mkdir(parents=True)
                shutil.copy(first / "master.key", folder)
            node = Dimed(bench.options.dimed, folder, bench.resolver, bench.sink.port, more, is_first=not first)
            first = first or folder
            self.nodes.append(node)

    @contextmanager
    def running(self):
        with ExitStack() as started:
            for node in self.nodes:
                node.start()
                started.callback(node.stop)
            yield

    def drive(self, load: Load, sink: Sink) -> Rates:
        """All nodes at once, each with its part of messages and sessions."""
        count = len(self.nodes)
        messages = load.messages // count
        sessions = [load.sessions // count + (place < load.sessions % count) for place in range(count)]
        before, begun = sink.taken(), time.monotonic()
        with ThreadPoolExecutor(count) as threads:
            drives = [
                threads.submit(
                    drive,
                    self.bench.tools,
                    self.bench.environment,
                    node.port,
                    Load(messages, load.octets, part, load.reuses),
                    None,
                )
                for node, part in zip(self.nodes, sessions)
            ]
            for done in drives:
                done.result()
        accepted = time.monotonic() - begun
        total = messages * count
        wait_for("the last message at the sink", lambda: sink.taken() - before >= total, seconds=900, pause=0.01)
        return Rates(total / accepted, total / (time.monotonic() - begun))


def print_all(bench):
    postgres = Postgres(bench.folder)
    try:
        load = bench.scaled(LOAD)
        taken = {count: [] for count in NODES}
        for _ in range(bench.rounds):
            for count in NODES:
                cluster = Cluster(bench, postgres, count)
                with cluster.running():
                    taken[count].append(cluster.drive(load, bench.sink))
    finally:
        postgres.close()
    print_table(load, taken)


def print_table(load: Load, taken):
    print(f"| PostgreSQL, {load} | accepted/s | accepted and relayed/s | of one node |")
    print("|---|---|---|---|")
    alone = statistics.median(rates.relay for rates in taken[1])
    for count, rounds in taken.items():
        accept, relay = (statistics.median(getattr(rates, name) for rates in rounds) for name in ("accept", "relay"))
        name = "1 node" if count == 1 else f"{count} nodes"
        print(f"| {name} | {accept:,.0f} | {relay:,.0f} | {relay / alone:.2f} |")
    print(flush=True)
