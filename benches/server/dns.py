"""A resolver on loopback that says of every name, as if proven by DNSSEC, that it does not exist.

Both servers under test send everything to one host that their configuration names, so DNS is asked only whether the
recipients' domain has a DIME record.
"""

import socket
import struct
import threading

QR, RD, RA, AD, NXDOMAIN = 0x8000, 0x0100, 0x0080, 0x0020, 3


def answer(question: bytes) -> bytes:
    """The reply to a question: its own octets, header aside, without what stands behind the question section."""
    ident, flags = struct.unpack("!HH", question[:4])
    end = 12
    while question[end]:
        end += question[end] + 1
    end += 5
    flags = QR | (flags & RD) | RA | AD | NXDOMAIN
    return struct.pack("!HHHHHH", ident, flags, 1, 0, 0, 0) + question[12:end]


class Resolver:
    """Answers by UDP and TCP until it is closed."""

    def __init__(self, ip: str = "127.0.0.1"):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((ip, 0))
        self.ip, self.port = self.udp.getsockname()
        self.tcp = socket.create_server((ip, self.port))
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_udp(self):
        while True:
            try:
                question, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            self.udp.sendto(answer(question), peer)

    def _serve_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                while len(head := stream.read(2)) == 2:
                    reply = answer(stream.read(*struct.unpack("!H", head)))
                    connection.sendall(struct.pack("!H", len(reply)) + reply)

    def close(self):
        self.udp.close()
        self.tcp.close()
