"""What the client and the server of this peer have in common: the test service, its data, what ALTS proved."""

import array
import functools
import sys

SERVICE = "alts.interop.Test"
# Messages are as large as the cases want them; and a server does not share its port.
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]


@functools.lru_cache(maxsize=4)
def _words(size):
    return array.array("I", range((size + 3) // 4))


def message(index, size):
    """The message number `index` of a stream: consecutive 32-bit words, little-endian, from index << 18 on."""
    words = _words(size)
    if index:
        words = array.array("I", range(index << 18, (index << 18) + len(words)))
    if sys.byteorder == "big":
        words = words[:]
        words.byteswap()
    return words.tobytes()[:size]


def fields(data):
    """The fields of a serialized protobuf message: number → list of numbers or bytes."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        elif key & 7 == 2:
            length = varint()
            value, at = data[at : at + length], at + length
            if len(value) != length:
                raise ValueError("the message is cut short")
        else:
            raise ValueError(f"wire type {key & 7}")
        found.setdefault(key >> 3, []).append(value)
    return found


def context(data):
    """The `grpc.gcp.AltsContext` that C core hands to applications, as names and values."""

    def last(message, number, default):
        return message.get(number, [default])[-1]

    def version(message, number):
        version = fields(last(message, number, b""))
        return f"{last(version, 1, 0)}.{last(version, 2, 0)}"

    top = fields(data)
    versions = fields(last(top, 6, b""))
    levels = {0: "SECURITY_NONE", 1: "INTEGRITY_ONLY", 2: "INTEGRITY_AND_PRIVACY"}
    return {
        "application_protocol": last(top, 1, b"").decode(),
        "record_protocol": last(top, 2, b"").decode(),
        "security_level": levels.get(last(top, 3, 0), "?"),
        "peer_service_account": last(top, 4, b"").decode(),
        "local_service_account": last(top, 5, b"").decode(),
        "peer_rpc_versions": f"{version(versions, 2)}..{version(versions, 1)}",
    }


def view(properties):
    """What ALTS proved, from the properties of a connection (name → bytes), in the words of all implementations."""
    (found, account) = (context(properties["alts_context"]), properties["service_account"].decode())
    if found["peer_service_account"] != account:
        raise ValueError(f"the account of the context, {found}, is not that of the connection, {account}")
    return found | {
        "transport_security_type": properties["transport_security_type"].decode(),
        "transport_security_level": properties["security_level"].decode(),
    }
