"""A second ALTS record layer, for the generators: it shares no code with the project's.

AES-GCM is that of the `cryptography` package (OpenSSL), HMAC that of Python's standard library, and
the rules are those of docs/PROTOCOL.md, written down here once more.
"""
import hashlib
import hmac
import json
import struct
import sys

import cryptography
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# What is stated as the origin of every answer below.
LIBRARY = "cryptography 48.0.0 (OpenSSL)"
# The last count that a record protocol may use.
LAST = {
    "ALTSRP_GCM_AES128_REKEY": 2**64 - 1,
    "ALTSRP_GCM_AES128": 2**40 - 1,
    "ALTSRP_GMAC_128": 2**40 - 1,
}


def counter(count, writer):
    return count.to_bytes(8, "little") + bytes(3) + (b"\x80" if writer == "server" else b"\x00")


def record_key(kdf_key, counter_bytes):
    """HKDF-Expand (RFC 5869) to 16 bytes, with bytes 2 to 7 of the counter as info."""
    return hmac.new(kdf_key, counter_bytes[2:8] + b"\x01", "sha256").digest()[:16]


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def seal(protocol, key_data, counter_bytes, payload):
    """What stands behind a frame's header: payload and tag."""
    if protocol == "ALTSRP_GCM_AES128_REKEY":
        key = record_key(key_data[:32], counter_bytes)
        return AESGCM(key).encrypt(xor(counter_bytes, key_data[32:44]), payload, None)
    if protocol == "ALTSRP_GCM_AES128":
        return AESGCM(key_data[:16]).encrypt(counter_bytes, payload, None)
    return payload + AESGCM(key_data[:16]).encrypt(counter_bytes, b"", payload)


def frame(protocol, key_data, count, writer, payload):
    body = seal(protocol, key_data, counter(count, writer), payload)
    return struct.pack("<II", 4 + len(body), 6) + body


def opened(protocol, key_data, writer, frames):
    """The payloads of a writer's first frames, one after the other; fails when one is not as it must be."""
    if protocol != "ALTSRP_GCM_AES128_REKEY":
        raise ValueError(f"only the rekeying record protocol is opened, not {protocol}")
    count, at = 0, 0
    while at < len(frames):
        length, kind = struct.unpack_from("<II", frames, at)
        body, at = frames[at + 8 : at + 4 + length], at + 4 + length
        if kind != 6 or at > len(frames):
            raise ValueError(f"frame {count} is of type {kind}, or cut short")
        counter_bytes, count = counter(count, writer), count + 1
        key = record_key(key_data[:32], counter_bytes)
        yield AESGCM(key).decrypt(xor(counter_bytes, key_data[32:44]), body, None)


def pattern(length):
    """The payload of a given length: byte i is (i + i / 2^8 + i / 2^16) mod 2^8, rounded down."""
    return bytes((i + (i >> 8) + (i >> 16)) & 0xFF for i in range(length))


def key_data(seed, length):
    """Bytes without a pattern: SHA-512 of the seed and a running number, one after the other."""
    blocks = (hashlib.sha512(b"%s %d" % (seed, i)).digest() for i in range(-(-length // 64)))
    return b"".join(blocks)[:length]


def write(kind, provenance, cases, **more):
    """Prints a file of the form that schema.json describes, a case on each line."""
    if cryptography.__version__ != "48.0.0":
        print("warning: made with cryptography", cryptography.__version__, file=sys.stderr)
    cases = list(cases)
    lines = {"kind": kind, "provenance": provenance, **more}
    print("{")
    print(*(f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in lines.items()), sep="\n")
    print('  "cases": [')
    print(*(f"    {json.dumps(case)}" for case in cases), sep=",\n")
    print("  ]\n}")
