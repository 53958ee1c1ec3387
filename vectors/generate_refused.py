#!/usr/bin/env python3
"""Makes refused.json: bytes that a reader must refuse, and why, from reference.py.

    pip install cryptography==48.0.0
    python3 vectors/generate_refused.py > vectors/refused.json
"""
import struct

import reference

PROVENANCE = f"vectors/generate_refused.py, {reference.LIBRARY}"
KEY = reference.key_data(b"refused", 44)
PAYLOAD = b"ALTS"
COUNT = 2**16 - 1


def headers():
    for length in (0, 1, 4, 19, 2**20 + 1, 2**24, 2**31, 2**32 - 1):
        yield f"length field {length}", "length", struct.pack("<II", length, 6)
    for kind in (0, 1, 5, 7, 6 << 8, 6 << 16, 6 << 24, 6 | 1 << 8, 6 | 1 << 31, 2**32 - 1):
        yield f"message type {kind}", "message_type", struct.pack("<II", 20, kind) + bytes(16)


def forgeries(protocol, writer):
    def frame(count=COUNT, writer=writer, key=KEY, payload=PAYLOAD):
        return reference.frame(protocol, key, count, writer, payload)

    good = frame()
    for name, at in [("payload", 8), ("payload", 11), ("tag", 12), ("tag", 27)]:
        for bit in (0, 7):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            yield f"bit {bit} of byte {at} ({name}) flipped", bytes(bad)
    yield "replayed: the frame before", frame(COUNT - 1)
    yield "dropped: the frame behind", frame(COUNT + 1)
    yield "reflected", frame(writer="client" if writer == "server" else "server")
    yield "another key", frame(key=reference.key_data(b"another", 44))
    yield "another payload under the same tag", good[:8] + b"ALTZ" + good[12:]
    yield "a byte shorter", struct.pack("<II", len(good) - 5, 6) + good[8:-1]
    yield "a byte longer", struct.pack("<II", len(good) - 3, 6) + good[8:] + b"\0"
    yield "no payload", struct.pack("<II", 20, 6) + good[12:]
    yield "zeros", struct.pack("<II", 24, 6) + bytes(20)
    for other in reference.LAST:
        if other != protocol:
            yield f"sealed by {other}", reference.frame(other, KEY, COUNT, writer, PAYLOAD)


def cases():
    for protocol in reference.LAST:
        for writer in ("client", "server"):
            start = {
                "record_protocol": protocol,
                "writer": writer,
                "key_data": KEY.hex(),
                "counter": str(COUNT),
            }
            for name, reason, received in headers():
                yield {"name": name, **start, "received": received.hex(), "reason": reason}
            for name, received in forgeries(protocol, writer):
                yield {"name": name, **start, "received": received.hex(), "reason": "authentication"}


reference.write("refused", PROVENANCE, cases())
