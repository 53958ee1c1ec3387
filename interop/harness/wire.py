"""Somebody on the wire: proxies that record or harm what goes by, and a reader of the recordings."""

import select
import socket
import struct
import threading
import time

from world import SERVER, World

# A piece of the messages that clients and servers send (client.py, data.rs), which no ciphertext has by chance.
PLAINTEXT = struct.pack("<8I", *range(1000, 1008))
RECORD_TYPE = 6


class Cut(Exception):
    """A proxy ends a connection."""


class Proxy:
    """Forwards connections to a server; what it does to their bytes is in `passage`."""

    # After this many seconds without a byte, a passage is asked what it holds back.
    IDLE = None

    def __init__(self, server, listen=None):
        self.server, self.threads = server, []
        self.listener = socket.create_server(listen or (SERVER, next(World.ports)))
        self.address = self.listener.getsockname()
        self.closing = False
        # For each connection, the directions in the order in which they came to their ends.
        self.ends = []

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

    def passage(self, connection, direction):
        """What makes, of bytes as they came, the pieces in which they go on; with `Cut` the connection ends."""
        return lambda data: [data]

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
            try:
                server = socket.create_connection(self.server)
            except OSError:
                client.close()
                continue
            connection = len(self.ends)
            self.ends.append([])
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for direction, source, sink in (("to_server", client, server), ("to_client", server, client)):
                passage = self.passage(connection, direction)
                self._thread(self._forward, source, sink, passage, self.ends[connection], direction)

    def _forward(self, source, sink, passage, ends, direction):
        cut = False
        try:
            while True:
                readable, _, _ = select.select([source], [], [], self.IDLE)
                data = source.recv(1 << 16) if readable else b""
                if readable and not data:
                    break
                for piece in passage(data):
                    try:
                        sink.sendall(piece)
                    except OSError:
                        # It has closed while there was more for it: what comes from it has ended first.
                        self._ended(ends, "to_client" if direction == "to_server" else "to_server")
                        raise
        except Cut:
            cut = True
        except OSError:
            self._noticed(ends, direction, sink)
            self._drain(source)
        self._noticed(ends, direction, sink)
        both = socket.SHUT_RDWR
        for end, how in ((sink, both if cut else socket.SHUT_WR), (source, both if cut else socket.SHUT_RD)):
            try:
                end.shutdown(how)
            except OSError:
                pass

    @staticmethod
    def _drain(source):
        """Takes what still comes for a sink that is gone. The sink itself would have reset the connection; left unread, it
        would block its sender, which may then never see the end of the other direction."""
        try:
            while source.recv(1 << 16):
                pass
        except OSError:
            pass

    def _noticed(self, ends, direction, _sink):
        """A direction has come to its end."""
        self._ended(ends, direction)

    @staticmethod
    def _ended(ends, direction):
        if direction not in ends:
            ends.append(direction)


class Recorder(Proxy):
    """Forwards connections as they are, and keeps a copy of both directions."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.found = []

    def recordings(self, direction):
        """The bytes of one direction (`to_server`, `to_client`), one recording for each connection."""
        return [bytes(found[direction]) for found in self.found]

    def passage(self, connection, direction):
        if connection == len(self.found):
            self.found.append({"to_server": bytearray(), "to_client": bytearray()})
        recording = self.found[connection][direction]

        def record(data):
            recording.extend(data)
            return [data]

        return record


class Cutter(Proxy):
    """Ends each connection when a number of bytes have gone in one direction."""

    def __init__(self, server, direction, after):
        super().__init__(server)
        self.direction, self.after = direction, after

    def passage(self, connection, direction):
        if direction != self.direction:
            return super().passage(connection, direction)
        left = self.after

        def cut(data):
            nonlocal left
            yield data[:left]
            left -= len(data)
            if left <= 0:
                # What has been sent shall arrive before the end.
                time.sleep(0.02)
                raise Cut

        return cut


class Dropper(Proxy):
    """Sends the first bytes of both directions one at a time."""

    def __init__(self, server, count):
        super().__init__(server)
        self.count = count

    def passage(self, connection, direction):
        left = self.count

        def drop(data):
            nonlocal left
            alone, left = min(len(data), left), left - min(len(data), left)
            for at in range(alone):
                yield data[at : at + 1]
                # For the reader to come and take it.
                time.sleep(0.00005)
            if data[alone:]:
                yield data[alone:]

        return drop


class Joiner(Proxy):
    """Holds what a client sends back until its last message of the handshake and its first record are one segment."""

    IDLE = 0.3

    def __init__(self, server):
        super().__init__(server)
        self.joined = 0

    def passage(self, connection, direction):
        if direction != "to_server":
            return super().passage(connection, direction)
        held, done = b"", False

        def join(data):
            nonlocal held, done
            held, idle = held + data, not data
            of_records = [kind == RECORD_TYPE for kind in kinds(held)]
            if not done and not idle and not any(of_records):
                return []
            if not done and any(of_records):
                self.joined += not all(of_records)
                done = True
            whole, held = held, b""
            return [whole]

        return join


class Corrupter(Proxy):
    """Flips a bit in one record of one direction, the first one after a number of bytes; all else goes by as it is."""

    def __init__(self, server, direction, after):
        super().__init__(server)
        self.direction, self.after, self.corrupted = direction, after, []

    def passage(self, connection, direction):
        if direction != self.direction:
            return super().passage(connection, direction)
        header, body, seen, due = b"", 0, 0, False

        def corrupt(data):
            nonlocal header, body, seen, due
            data, at = bytearray(data), 0
            while at < len(data):
                if body:
                    if due:
                        data[at] ^= 1
                        due = False
                        self.corrupted.append(connection)
                    step = min(body, len(data) - at)
                    at, body = at + step, body - step
                    continue
                part = bytes(data[at : at + 8 - len(header)])
                header, at = header + part, at + len(part)
                if len(header) < 8:
                    continue
                length, kind = struct.unpack("<II", header)
                header, body = b"", length - 4
                due = kind == RECORD_TYPE and seen == self.after
                seen += kind == RECORD_TYPE
            return [bytes(data)]

        return corrupt

    def _noticed(self, ends, direction, sink):
        # The receiver may have said why it ends, and the sender have ended too before this thread was asked.
        if direction == self.direction and self._has_ended(sink):
            self._ended(ends, "to_client" if direction == "to_server" else "to_server")
        super()._noticed(ends, direction, sink)

    @staticmethod
    def _has_ended(end):
        try:
            readable, _, _ = select.select([end], [], [], 0)
            return bool(readable) and not end.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True


def kinds(data):
    """The types of the frames that begin in these bytes."""
    found, at = [], 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        found.append(kind)
        at += 4 + length
    return found


def records(recording):
    """The length fields of all ALTS records of one direction.

    The handshaker service's messages go before them. They have the form of records too, with other types, but
    only this project's service has that property.
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
