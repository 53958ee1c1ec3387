#!/usr/bin/env python3
"""Makes records.json: whole frames of every record protocol, from reference.py.

    pip install cryptography==48.0.0
    python3 vectors/generate_records.py > vectors/records.json
"""
import hashlib

import reference

PROVENANCE = f"vectors/generate_records.py, {reference.LIBRARY}"
PAYLOAD_RULE = "byte i is (i + floor(i / 256) + floor(i / 65536)) mod 256"
# The last one is longer than any record protocol needs: its end has to be ignored.
KEYS = [
    bytes(range(44)),
    bytes((7 * i + 3) % 256 for i in range(44)),
    bytes(44),
    b"\xff" * 44,
    reference.key_data(b"ALTS", 64),
]
# Around each place where a byte of the counter carries, and around each change of the key.
EDGES = [0, 2**8, 2**16, 2**17, 2**24, 2**32, 2**40, 2**48, 2**56]
# Around AES blocks, length bytes, the payloads of the usual frame sizes (16 KiB, 128 KiB, 1 MiB),
# and the largest payload that may be read at all.
SHORT = [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257]
LONG = [1000, 4072, 16359, 16360, 16361, 65535, 65536, 131048, 1048551, 1048552, 1048556]
# Frames above this many bytes are given by their ends and their digest.
WHOLE = 512
END = 32


def case(protocol, writer, key, count, length):
    payload = reference.pattern(length)
    frame = reference.frame(protocol, key, count, writer, payload)
    start = {
        "record_protocol": protocol,
        "writer": writer,
        "key_data": key.hex(),
        # A string: JSON numbers end at 2^53 in many readers.
        "counter": str(count),
        "payload_len": length,
    }
    if len(frame) <= WHOLE:
        return start | {"frame": frame.hex()}
    return start | {
        "frame_head": frame[:END].hex(),
        "frame_tail": frame[-END:].hex(),
        "frame_sha256": hashlib.sha256(frame).hexdigest(),
    }


def cases():
    for protocol, last in reference.LAST.items():
        around = {edge + step for edge in EDGES for step in (-2, -1, 0, 1, 2)}
        counts = sorted({c for c in around if 0 <= c <= last} | {last - 2, last - 1, last})
        for writer in ("client", "server"):
            for key in KEYS:
                for count in counts if key in KEYS[:2] else (0, 1, 2**16, last):
                    yield case(protocol, writer, key, count, 4)
            for length in SHORT + LONG:
                yield case(protocol, writer, KEYS[0], 0, length)
            for length in (0, 1, 16, 1048552):
                yield case(protocol, writer, KEYS[4], 2**16, length)


reference.write("records", PROVENANCE, cases(), payload_rule=PAYLOAD_RULE)
