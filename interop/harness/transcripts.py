"""Recordings of sessions with each peer, as vectors that any implementation can replay: vectors/transcripts.json."""

import datetime
import json
import struct
import sys
import time

import faults
import wire
from cases import answer, require
from world import HANDSHAKER_PORT, SERVER_HANDSHAKER, Failed, World

# A handshaker service behind which there is a recorder in front of that of the server.
RECORDED_HANDSHAKER = "127.0.0.63"
SIZE = 1000


def record(root, peers, modules):
    """Makes the file anew; peers that were not asked for keep what they have."""
    sys.path += [str(root / "vectors"), str(root / "interop" / "grpcio")]
    file = root / "vectors" / "transcripts.json"
    found = {}
    if file.exists():
        found = {(case["peer"], case["peer_side"]): case for case in json.loads(file.read_text())["cases"]}
    for peer in peers:
        for role in ("client", "server"):
            found[peer.name, role] = session(root, peer, role, modules.get(peer.name, faults))
            print(f"{peer.name} {peer.version} as {role}: recorded")
    lines = ",\n".join(f"    {json.dumps(found[key])}" for key in sorted(found))
    provenance = (
        "recorded between each peer and this project's tonic client and server by interop/run --record; payloads opened"
        " by vectors/reference.py, cryptography 48.0.0 (OpenSSL)"
    )
    file.write_text(f'{{\n  "kind": "transcripts",\n  "provenance": "{provenance}",\n  "cases": [\n{lines}\n  ]\n}}\n')


def session(root, peer, role, module):
    """One call on one connection: all its bytes, its key, and what was sent."""
    import reference
    from common import message

    sent = message(0, SIZE)
    with World(root, f"{peer.name}-{role}-transcript") as world:
        setting = module.Setting(world, peer, role)
        service = wire.Recorder((SERVER_HANDSHAKER, HANDSHAKER_PORT), (RECORDED_HANDSHAKER, HANDSHAKER_PORT))
        with service:
            with wire.Recorder(setting.another_server(handshaker=RECORDED_HANDSHAKER)) as recorder:
                require(answer(setting.call("echo", SIZE, through=recorder.address)), {"intact": True}, "echo")
                time.sleep(0.5)
                directions = {name: recorder.recordings(name) for name in ("to_server", "to_client")}
            results = [found for answers in service.recordings("to_client") for found in key_data(answers)]
    require([len(results), *map(len, directions.values())], [1, 1, 1], "keys and connections")
    (protocol, key), case = results[0], {}
    for direction, (found,) in directions.items():
        writer = {"to_server": "client", "to_client": "server"}[direction]
        handshake = handshake_length(found)
        payload = b"".join(reference.opened(protocol, key, writer, found[handshake:]))
        if sent not in payload:
            raise Failed(f"{direction}: what was sent has not arrived")
        case |= {
            f"handshake_{direction}": handshake,
            direction: found.hex(),
            f"payload_{direction}": payload.hex(),
        }
    return {
        "peer": peer.name,
        "version": peer.version,
        "peer_side": role,
        "recorded": datetime.date.today().isoformat(),
        "record_protocol": protocol,
        "key_data": key.hex(),
        "sent": sent.hex(),
    } | case


def handshake_length(found):
    """Where the first record begins, behind the messages of this project's service."""
    at = 0
    while at + 8 <= len(found):
        length, kind = struct.unpack_from("<II", found, at)
        if kind == wire.RECORD_TYPE:
            return at
        at += 4 + length
    raise Failed("a session without records")


def key_data(http2):
    """The record protocols and keys in what the handshaker service has said on one HTTP/2 connection."""
    from common import fields

    streams, at = {}, 0
    while at + 9 <= len(http2):
        length, kind = int.from_bytes(http2[at : at + 3], "big"), http2[at + 3]
        (stream,) = struct.unpack_from(">I", http2, at + 5)
        if kind == 0:
            streams.setdefault(stream, bytearray()).extend(http2[at + 9 : at + 9 + length])
        at += 9 + length
    for data in streams.values():
        at = 0
        while at + 5 <= len(data):
            (length,) = struct.unpack_from(">I", data, at + 1)
            for result in fields(bytes(data[at + 5 : at + 5 + length])).get(3, []):
                result = fields(result)
                yield result[2][-1].decode(), result[3][-1]
            at += 5 + length
