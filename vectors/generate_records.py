#!/usr/bin/env python3
"""Makes records.json: whole frames, from an implementation that shares nothing with the project.

AES-GCM is that of the `cryptography` package (OpenSSL), HMAC that of Python's standard library, and
the rules are those of docs/PROTOCOL.md, written down here a second time.

    pip install cryptography==48.0.0
    python3 vectors/generate_records.py > vectors/records.json
"""
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEYS = [bytes(range(44)), bytes((7 * i + 3) % 256 for i in range(44))]


def counter_bytes(counter, server):
    return counter.to_bytes(8, "little") + bytes(3) + (b"\x80" if server else b"\x00")


def frame(protocol, key, counter, server, payload):
    count = counter_bytes(counter, server)
    if protocol == "ALTSRP_GCM_AES128_REKEY":
        aes = hmac.new(key[:32], count[2:8] + b"\x01", "sha256").digest()[:16]
        nonce = bytes(a ^ b for a, b in zip(count, key[32:44]))
        body = AESGCM(aes).encrypt(nonce, payload, None)
    elif protocol == "ALTSRP_GCM_AES128":
        body = AESGCM(key[:16]).encrypt(count, payload, None)
    else:
        body = payload + AESGCM(key[:16]).encrypt(count, b"", payload)
    return struct.pack("<II", 4 + len(body), 6) + body


def payloads():
    yield b""
    yield b"a"
    yield b"ALTS"
    yield bytes(range(16))
    yield bytes(range(17))


def cases():
    limits = {
        "ALTSRP_GCM_AES128_REKEY": 2**64 - 1,
        "ALTSRP_GCM_AES128": 2**40 - 1,
        "ALTSRP_GMAC_128": 2**40 - 1,
    }
    for protocol, last in limits.items():
        edges = {0, 1, 255, 256, 65535, 65536, 2**32 - 1, 2**32, last - 1, last}
        for writer in ("client", "server"):
            for key in KEYS:
                for counter in sorted(edges):
                    some = list(payloads())
                    for payload in some if counter == 0 else [some[2]]:
                        sealed = frame(protocol, key, counter, writer == "server", payload)
                        yield {
                            "record_protocol": protocol,
                            "writer": writer,
                            "key_data": key.hex(),
                            # A string: JSON numbers end at 2^53 in many readers.
                            "counter": str(counter),
                            "payload": payload.hex(),
                            "frame": sealed.hex(),
                        }


def main():
    cases_text = ",\n".join("    " + json.dumps(case) for case in cases())
    print("{")
    print('  "provenance": "vectors/generate_records.py, cryptography 48.0.0 (OpenSSL)",')
    print('  "cases": [')
    print(cases_text)
    print("  ]\n}")


main()
