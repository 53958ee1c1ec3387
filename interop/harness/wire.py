"""A listener on the wire: a proxy that records what goes by, and a reader of the recordings."""

import socket
import struct
import threading

from world import SERVER, World

# A piece of the messages that clients and servers send (client.py, data.rs), which no ciphertext has by chance.
PLAINTEXT = struct.pack("<8I", *range(1000, 1008))
RECORD_TYPE = 6


class Recorder:
    """Forwards connections to a server as they are, and keeps a copy of both directions."""

    def __init__(self, server):
        self.server, self.found, self.threads = server, [], []
        self.listener = socket.create_server((SERVER, next(World.ports)))
        self.address = self.listener.getsockname()
        self.closing = False

    def __enter__(self):
        self._thread(self._accept)
        return self

    def __exit__(self, *_):
        self.closing = True
        # It waits in accept: a last connection wakes it.
        socket.create_connection(self.address).close()
        for thread in self.threads:
            thread.join(10)
        self.listener.close()

    def recordings(self, direction):
        """The bytes of one direction (`to_server`, `to_client`), one recording for each connection."""
        return [bytes(found[direction]) for found in self.found]

    def _thread(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.closing:
                client.close()
                return
            found = {"to_server": bytearray(), "to_client": bytearray()}
            self.found.append(found)
            server = socket.create_connection(self.server)
            self._thread(self._forward, client, server, found["to_server"])
            self._thread(self._forward, server, client, found["to_client"])

    @staticmethod
    def _forward(source, sink, recording):
        try:
            while data := source.recv(1 << 16):
                recording += data
                sink.sendall(data)
        except OSError:
            pass
        for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
            try:
                end.shutdown(how)
            except OSError:
                pass


def records(recording):
    """The length fields of all ALTS records of one direction.

    The handshaker service's messages go before them. They have the form of records too, with other types, but
    that is a property of this project's service alone.
    """
    lengths, at = [], 0
    while at < len(recording):
        if at + 8 > len(recording):
            raise ValueError(f"{len(recording) - at} bytes are left behind the last frame")
        length, kind = struct.unpack_from("<II", recording, at)
        if kind == RECORD_TYPE:
            lengths.append(length)
        elif lengths:
            raise ValueError(f"a frame of type {kind} after the handshake")
        at += 4 + length
    if at != len(recording):
        raise ValueError("the last frame is cut short")
    return lengths
