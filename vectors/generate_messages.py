#!/usr/bin/env python3
"""Makes messages.json: messages of the handshaker service as Google's own protobuf writes them.

The messages are declared below as a table, after the three public `.proto` files of package
`grpc.gcp`, and are turned into descriptors in memory: no protoc is needed.

    pip install protobuf==7.36.2 cryptography==48.0.0
    python3 vectors/generate_messages.py > vectors/messages.json
"""
import random

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

import reference

PROVENANCE = "vectors/generate_messages.py, protobuf 7.36.2 (Python, upb)"

# Numbers, types and names. `*` repeats, `?` is proto3's `optional`, `|name` belongs to a oneof,
# `{key}` is a map from that type.
MESSAGES = {
    "Endpoint": "1 string ip_address, 2 int32 port, 3 enum:NetworkProtocol protocol",
    "Identity": "1 string service_account |identity_oneof, 2 string hostname |identity_oneof, "
    "3 string attributes {string}",
    "StartClientHandshakeReq": "1 enum:HandshakeProtocol handshake_security_protocol, "
    "2 string application_protocols *, 3 string record_protocols *, "
    "4 Identity target_identities *, 5 Identity local_identity, 6 Endpoint local_endpoint, "
    "7 Endpoint remote_endpoint, 8 string target_name, 9 RpcProtocolVersions rpc_versions, "
    "10 uint32 max_frame_size, 11 string access_token, "
    "12 TransportProtocolPreferences transport_protocol_preferences",
    "ServerHandshakeParameters": "1 string record_protocols *, 2 Identity local_identities *, "
    "3 string token ?",
    "StartServerHandshakeReq": "1 string application_protocols *, "
    "2 ServerHandshakeParameters handshake_parameters {int32}, 3 bytes in_bytes, "
    "4 Endpoint local_endpoint, 5 Endpoint remote_endpoint, 6 RpcProtocolVersions rpc_versions, "
    "7 uint32 max_frame_size, 8 TransportProtocolPreferences transport_protocol_preferences",
    "NextHandshakeMessageReq": "1 bytes in_bytes, 2 uint32 network_latency_ms",
    "HandshakerReq": "1 StartClientHandshakeReq client_start |req_oneof, "
    "2 StartServerHandshakeReq server_start |req_oneof, 3 NextHandshakeMessageReq next |req_oneof",
    "HandshakerResult": "1 string application_protocol, 2 string record_protocol, "
    "3 bytes key_data, 4 Identity peer_identity, 5 Identity local_identity, "
    "6 bool keep_channel_open, 7 RpcProtocolVersions peer_rpc_versions, 8 uint32 max_frame_size, "
    "9 NegotiatedTransportProtocol transport_protocol",
    "HandshakerStatus": "1 uint32 code, 2 string details",
    "HandshakerResp": "1 bytes out_frames, 2 uint32 bytes_consumed, 3 HandshakerResult result, "
    "4 HandshakerStatus status",
    "RpcVersion": "1 uint32 major, 2 uint32 minor",
    "RpcProtocolVersions": "1 RpcVersion max_rpc_version, 2 RpcVersion min_rpc_version",
    "TransportProtocolPreferences": "1 string transport_protocol *",
    "NegotiatedTransportProtocol": "1 string transport_protocol",
    "AltsContext": "1 string application_protocol, 2 string record_protocol, "
    "3 enum:SecurityLevel security_level, 4 string peer_service_account, "
    "5 string local_service_account, 6 RpcProtocolVersions peer_rpc_versions, "
    "7 string peer_attributes {string}",
}
ENUMS = {
    "HandshakeProtocol": ["HANDSHAKE_PROTOCOL_UNSPECIFIED", "TLS", "ALTS"],
    "NetworkProtocol": ["NETWORK_PROTOCOL_UNSPECIFIED", "TCP", "UDP"],
    "SecurityLevel": ["SECURITY_NONE", "INTEGRITY_ONLY", "INTEGRITY_AND_PRIVACY"],
}
Field = descriptor_pb2.FieldDescriptorProto


def set_type(field, name):
    if name.startswith("enum:"):
        field.type, field.type_name = Field.TYPE_ENUM, ".alts." + name[5:]
    elif name in MESSAGES:
        field.type, field.type_name = Field.TYPE_MESSAGE, ".alts." + name
    else:
        field.type = getattr(Field, "TYPE_" + name.upper())


def declare():
    file = descriptor_pb2.FileDescriptorProto(name="alts.proto", package="alts", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, table in MESSAGES.items():
        declared, oneofs, optional = file.message_type.add(name=name), {}, []
        for line in table.split(", "):
            number, kind, field_name, *more = line.split()
            field = declared.field.add(name=field_name, number=int(number))
            field.label = Field.LABEL_REPEATED if more and more[0][0] in "*{" else Field.LABEL_OPTIONAL
            set_type(field, kind)
            if more and more[0][0] == "|":
                field.oneof_index = oneofs.setdefault(more[0][1:], len(oneofs))
            elif more and more[0][0] == "{":
                entry_name = "".join(part.title() for part in field_name.split("_")) + "Entry"
                entry = declared.nested_type.add(name=entry_name)
                entry.options.map_entry = True
                set_type(entry.field.add(name="key", number=1, label=1), more[0][1:-1])
                set_type(entry.field.add(name="value", number=2, label=1), kind)
                field.type, field.type_name = Field.TYPE_MESSAGE, f".alts.{name}.{entry_name}"
            elif more == ["?"]:
                optional.append(field)
        for oneof in oneofs:
            declared.oneof_decl.add(name=oneof)
        for field in optional:
            field.proto3_optional, field.oneof_index = True, len(declared.oneof_decl)
            declared.oneof_decl.add(name="_" + field.name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    get = message_factory.GetMessageClass
    return {name: get(pool.FindMessageTypeByName("alts." + name)) for name in MESSAGES}


CLASS = declare()


def value(of):
    """A message as JSON: what is set and not the default; bytes in hex, enumerations as numbers."""
    result = {}
    for field, content in of.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            content = {str(key): one(content[key]) for key in sorted(content)}
        elif field.is_repeated:
            content = [one(element) for element in content]
        else:
            content = one(content)
        result[field.name] = content
    return result


def one(content):
    if isinstance(content, message.Message):
        return value(content)
    return content.hex() if isinstance(content, bytes) else content


# Protobuf's wire format by hand, for bytes that no library would write.


def varint(number, padding=0):
    groups = []
    while number > 0x7F or padding:
        padding -= number <= 0x7F
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def field(number, content, padding=0):
    if isinstance(content, int):
        return varint(number << 3) + varint(content % 2**64, padding)
    return varint(number << 3 | 2) + varint(len(content), padding) + content


UNKNOWN = (
    field(1000, 7)
    + varint(1001 << 3 | 1) + bytes(8)
    + field(1002, b"unknown")
    + varint(1003 << 3 | 3) + field(1, b"in a group") + varint(1003 << 3 | 4)
    + varint(1004 << 3 | 5) + bytes(4)
)  # fmt: skip


def built():
    """name, message, content: what is written as a library writes it."""
    versions = {"max_rpc_version": {"major": 2, "minor": 1}, "min_rpc_version": {"major": 2, "minor": 1}}
    client = {
        "handshake_security_protocol": 2,
        "application_protocols": ["grpc"],
        "record_protocols": ["ALTSRP_GCM_AES128_REKEY"],
        "target_identities": [{"service_account": "server@project.iam.gserviceaccount.com"}],
        "target_name": "service.example:443",
        "rpc_versions": versions,
        "max_frame_size": 1048576,
    }
    endpoint = {"ip_address": "2001:db8::1", "port": 65535, "protocol": 1}
    attributes = {"region": "eu", "": "empty name", "empty value": ""}
    identity = {"service_account": "client@project.iam.gserviceaccount.com", "attributes": attributes}
    server = {
        "application_protocols": ["grpc"],
        "handshake_parameters": {2: {"record_protocols": ["ALTSRP_GCM_AES128_REKEY"]}},
        "in_bytes": b"\x00\x01ClientInit\xff",
        "rpc_versions": versions,
        "max_frame_size": 131072,
    }
    result = {
        "application_protocol": "grpc",
        "record_protocol": "ALTSRP_GCM_AES128_REKEY",
        "key_data": bytes(range(44)),
        "peer_identity": identity,
        "local_identity": {"hostname": "host.example"},
        "peer_rpc_versions": versions,
        "max_frame_size": 131072,
    }
    yield "a client's start, as stock clients send it", "HandshakerReq", {"client_start": client}
    yield "a client's start with every field", "HandshakerReq", {
        "client_start": client | {
            "local_identity": identity,
            "local_endpoint": endpoint,
            "remote_endpoint": {"ip_address": "192.0.2.1", "port": -1, "protocol": 2},
            "access_token": "token \u00e9\u4e16\U0001f511",
            "transport_protocol_preferences": {"transport_protocol": ["a", "", "b"]},
        }
    }  # fmt: skip
    yield "a server's start, as stock servers send it", "HandshakerReq", {"server_start": server}
    yield "a server's start with every field", "HandshakerReq", {
        "server_start": server | {
            "handshake_parameters": {
                -1: {},
                1: {"local_identities": [identity, {"hostname": ""}, {}]},
                2: {"record_protocols": ["", "x"], "token": ""},
                2**31 - 1: {"token": "secret"},
            },
            "local_endpoint": endpoint,
            "remote_endpoint": {},
            "transport_protocol_preferences": {},
        }
    }  # fmt: skip
    yield "more bytes", "HandshakerReq", {"next": {"in_bytes": bytes(range(256)), "network_latency_ms": 2**32 - 1}}
    yield "more bytes: none", "HandshakerReq", {"next": {}}
    yield "a request without a request", "HandshakerReq", {}
    yield "bytes for the peer", "HandshakerResp", {"out_frames": b"ServerInit" * 40, "bytes_consumed": 300, "status": {}}
    yield "a result", "HandshakerResp", {"bytes_consumed": 12, "result": result, "status": {}}
    yield "a result with every field", "HandshakerResp", {
        "out_frames": b"\0",
        "bytes_consumed": 2**32 - 1,
        "result": result | {
            "keep_channel_open": True,
            "transport_protocol": {"transport_protocol": "tcp"},
        },
        "status": {"code": 0, "details": "fine"},
    }  # fmt: skip
    yield "an error with an alert", "HandshakerResp", {
        "out_frames": b"alert",
        "status": {"code": 16, "details": "the peer is not who it should be"},
    }
    yield "a response without anything", "HandshakerResp", {}
    context = {
        "application_protocol": "grpc",
        "record_protocol": "ALTSRP_GCM_AES128_REKEY",
        "security_level": 2,
        "peer_service_account": "peer@project.iam.gserviceaccount.com",
        "local_service_account": "local@project.iam.gserviceaccount.com",
        "peer_rpc_versions": versions,
        "peer_attributes": {"zone": "b"},
    }
    yield "a context", "AltsContext", context
    yield "a context of an integrity-only channel", "AltsContext", {
        "application_protocol": "http/1.1", "record_protocol": "ALTSRP_GMAC_128", "security_level": 1,
    }  # fmt: skip
    yield "lists at their capacities", "HandshakerReq", {
        "client_start": {
            "application_protocols": [f"a{i}" for i in range(16)],
            "record_protocols": [f"r{i}" for i in range(16)],
            "target_identities": [
                {"hostname": f"h{i}", "attributes": {f"k{j}": "v" for j in range(i % 9)}} for i in range(32)
            ],
        }
    }  # fmt: skip


def random_content(rng, name, depth=0):
    """Any content of a message, sparse in the depth, within everybody's capacities."""
    descriptor, content, seen = CLASS[name].DESCRIPTOR, {}, set()
    for declared in descriptor.fields:
        oneof = declared.containing_oneof
        if rng.random() < 0.3 + 0.1 * depth or (oneof and oneof.name in seen):
            continue
        if oneof:
            seen.add(oneof.name)
        if declared.message_type and declared.message_type.GetOptions().map_entry:
            key, kind = declared.message_type.fields
            keys = [random_scalar(rng, key) for _ in range(rng.randrange(4))]
            content[declared.name] = {k: random_one(rng, kind, depth) for k in keys}
        elif declared.is_repeated:
            content[declared.name] = [random_one(rng, declared, depth) for _ in range(rng.randrange(5))]
        else:
            content[declared.name] = random_one(rng, declared, depth)
    return content


def random_one(rng, declared, depth):
    if declared.message_type:
        return random_content(rng, declared.message_type.name, depth + 1)
    return random_scalar(rng, declared)


def random_scalar(rng, declared):
    if declared.type == Field.TYPE_STRING:
        return "".join(rng.choice("aZ0@. \u00fc\u20ac\U0001f600") for _ in range(rng.randrange(12)))
    if declared.type == Field.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 16, 44, 127, 128, 300]))
    if declared.type == Field.TYPE_BOOL:
        return rng.random() < 0.5
    if declared.type == Field.TYPE_ENUM:
        return rng.choice([0, 1, 2, 3, -1, 2**31 - 1])
    low = -(2**31) if declared.type == Field.TYPE_INT32 else 0
    return rng.choice([0, 1, 127, 128, 300, 2**31 - 1, low])


def by_hand():
    """name, message, bytes: what a reader has to understand although no library writes it."""
    status, result = CLASS["HandshakerStatus"](code=3, details="x"), CLASS["HandshakerResult"]
    part1 = result(application_protocol="grpc", peer_identity={"service_account": "a"}, max_frame_size=1)
    part2 = result(record_protocol="r", peer_identity={"attributes": {"k": "v"}}, max_frame_size=2)
    part1, part2, status = (m.SerializeToString() for m in (part1, part2, status))
    resp = "HandshakerResp"
    yield "unknown fields of every wire type", resp, UNKNOWN + field(2, 5) + UNKNOWN + field(4, UNKNOWN + status)
    yield "fields in reverse", resp, field(4, status) + field(3, part1) + field(2, 5) + field(1, b"x")
    yield "the last of a scalar wins", resp, field(2, 1) + field(1, b"first") + field(2, 2) + field(1, b"last")
    yield "the last of a scalar wins: a default", resp, field(2, 1) + field(1, b"first") + field(2, 0) + field(1, b"")
    yield "parts of a sub-message are merged", resp, field(3, part1) + field(4, status) + field(3, part2)
    yield "an empty part changes nothing", resp, field(3, part1) + field(3, b"")
    yield "defaults written out", resp, field(1, b"") + field(2, 0) + field(4, field(1, 0) + field(2, b""))
    yield "numbers padded to ten bytes", resp, field(2, 5, padding=9) + field(4, field(1, 3, padding=4))
    yield "lengths padded", resp, field(1, b"xyz", padding=2) + field(4, status, padding=1)
    yield "keys padded", resp, varint(2 << 3, padding=3) + varint(5)
    yield "a uint32 with more than 32 bits is cut", resp, field(2, 2**40 + 7)
    yield "an int32 with more than 32 bits is cut", "Endpoint", field(2, 2**40 + 7)
    yield "a negative int32 in five bytes", "Endpoint", field(2, 2**32 - 1)
    yield "a negative int32 in ten bytes", "Endpoint", field(2, -1)
    yield "an unknown number of an enumeration", "Endpoint", field(3, 77)
    yield "a negative number of an enumeration", "Endpoint", field(3, -5)
    yield "a true that is not 1", "HandshakerResult", field(6, 2**63)
    yield "a oneof: the last member wins", "Identity", field(1, b"account") + field(2, b"host")
    yield "a oneof: the last member wins, empty", "Identity", field(2, b"host") + field(1, b"")
    next1, next2 = field(1, b"first"), field(2, 9)
    yield "a oneof of messages: the same member is merged", "HandshakerReq", field(3, next1) + field(3, next2)
    yield "a oneof of messages: another member replaces", "HandshakerReq", field(3, next1) + field(1, b"")
    yield "a oneof of messages: and back", "HandshakerReq", field(3, next1) + field(1, b"") + field(3, next2)
    entry = field(1, b"k") + field(2, b"v")
    yield "a map: an entry without a key", "Identity", field(3, field(2, b"v"))
    yield "a map: an entry without a value", "Identity", field(3, field(1, b"k"))
    yield "a map: an empty entry", "Identity", field(3, b"")
    yield "a map: the value first", "Identity", field(3, field(2, b"v") + field(1, b"k"))
    yield "a map: the last of a key wins", "Identity", field(3, entry) + field(3, field(1, b"k") + field(2, b"w"))
    yield "a map: a key twice in an entry", "Identity", field(3, field(1, b"a") + entry)
    yield "a map: a value twice in an entry", "Identity", field(3, entry + field(2, b"w"))
    server = "StartServerHandshakeReq"
    yield "a map of messages: no value", server, field(2, field(1, 2))
    yield "a map of messages: no key", server, field(2, field(2, field(1, b"r")))
    both = field(1, 2) + field(2, field(1, b"r")) + field(2, field(3, b"t"))
    yield "a map of messages: a value in parts", server, field(2, both)
    yield "a map of messages: a key of ten bytes", server, field(2, field(1, -1) + field(2, b""))
    yield "an optional text that is empty", "ServerHandshakeParameters", field(3, b"")
    yield "a field's number at its largest", "RpcVersion", varint((2**29 - 1) << 3) + varint(1) + field(1, 2)


def refused():
    """name, message, bytes: what no reader may take."""
    resp = "HandshakerResp"
    yield "a key cut short", resp, b"\x80"
    yield "a number cut short", resp, b"\x10\xff"
    yield "a number that is missing", resp, b"\x10"
    yield "a number of eleven bytes", resp, b"\x10" + b"\xff" * 10 + b"\x01"
    yield "a length beyond the end", resp, b"\x0a\x02x"
    yield "a length of 2^63", resp, b"\x0a" + varint(2**63)
    yield "a sub-message beyond its parent", resp, field(4, b"\x0a\x05x") + bytes(8)
    yield "field number 0", resp, b"\x00\x01"
    yield "wire type 6", resp, b"\x0e"
    yield "wire type 7", resp, b"\x0f"
    yield "the end of a group that did not begin", resp, varint(9 << 3 | 4)
    yield "a group without an end", resp, varint(9 << 3 | 3)
    yield "a group with another's end", resp, varint(9 << 3 | 3) + varint(10 << 3 | 4)
    yield "64 bits cut short", resp, varint(9 << 3 | 1) + bytes(7)
    yield "32 bits cut short", resp, varint(9 << 3 | 5) + bytes(3)
    yield "text that is not UTF-8", "HandshakerStatus", field(2, b"\xff")
    yield "text that ends inside a character", "HandshakerStatus", field(2, b"\xe2\x82")
    yield "text with a surrogate", "HandshakerStatus", field(2, b"\xed\xa0\x80")
    yield "text in a list that is not UTF-8", "StartClientHandshakeReq", field(2, b"\xc0\x80")
    yield "a map's key that is not UTF-8", "Identity", field(3, field(1, b"\x80"))
    yield "a map's value that is not UTF-8", "Identity", field(3, field(2, b"\x80"))
    yield "a map's entry cut short", "Identity", field(3, b"\x0a\x05")


def canonical(of):
    return of.SerializeToString(deterministic=True)


def entry_with_default(of):
    """Whether a map in the message has an entry whose key or value is a default.

    Some libraries write such a key or value, as this one does, and some leave it out: the bytes
    are not the only ones then, although the value is.
    """
    for declared, content in of.ListFields():
        if declared.message_type and declared.message_type.GetOptions().map_entry:
            for key in content:
                inner = content[key]
                if isinstance(inner, message.Message):
                    if not key or not inner.ByteSize() or entry_with_default(inner):
                        return True
                elif not key or not inner:
                    return True
        elif declared.message_type:
            inner = content if declared.is_repeated else [content]
            if any(entry_with_default(element) for element in inner):
                return True
    return False


def known(name, kind, of, encoded):
    case = {"name": name, "message": kind, "encoded": encoded.hex(), "value": value(of)}
    if entry_with_default(of):
        return case | {"other_encodings": True}
    return case if canonical(of) == encoded else case | {"canonical": canonical(of).hex()}


def cases():
    rng = random.Random(20261122)
    everything = list(built())
    for name in MESSAGES:
        # What a context may hold is bounded by more than its message: those above are enough.
        if name != "AltsContext":
            everything += [(f"random {i}", name, random_content(rng, name)) for i in range(6)]
    for name, kind, content in everything:
        of = CLASS[kind](**content)
        yield known(name, kind, of, canonical(of))
    for name, kind, encoded in by_hand():
        of = CLASS[kind].FromString(encoded)
        of.DiscardUnknownFields()
        yield known(name, kind, of, encoded)
    for name, kind, encoded in refused():
        try:
            CLASS[kind].FromString(encoded)
        except message.DecodeError:
            yield {"name": name, "message": kind, "encoded": encoded.hex(), "refused": True}
        else:
            raise AssertionError(f"protobuf accepts: {name}")


reference.write("messages", PROVENANCE, cases())
