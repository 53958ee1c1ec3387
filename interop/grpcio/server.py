"""The test service on gRPC C core, over ALTS: server.py --listen IP:PORT [--plaintext]

Prints one line when it listens, and serves until it is ended. README.md beside the harness describes the service.
"""

import argparse
import json
from concurrent import futures

import grpc

from common import OPTIONS, SERVICE, context, message


def echo(request, _call):
    return request


def echo_stream(requests, _call):
    yield from requests


def download(request, _call):
    order = json.loads(request)
    for index in range(order["messages"]):
        yield message(index, order["size"])


def upload(requests, _call):
    messages, size, intact = 0, 0, True
    for request in requests:
        intact = intact and request == message(messages, len(request))
        messages += 1
        size += len(request)
    return json.dumps({"messages": messages, "bytes": size, "intact": intact}).encode()


def view(call):
    """What ALTS proved to this server about the client of a call."""
    auth = call.auth_context()
    if "alts_context" not in auth:
        return {"properties": sorted(auth)}
    (proved,) = auth["alts_context"]
    (security_level,) = auth["security_level"]
    identities = [identity.decode() for identity in call.peer_identities() or []]
    found = context(proved)
    if [found["peer_service_account"]] != identities or auth["service_account"] != call.peer_identities():
        raise ValueError(f"the account of the context, {found}, is not that of the call, {identities}")
    return found | {
        "transport_security_type": auth["transport_security_type"][0].decode(),
        "transport_security_level": security_level.decode(),
    }


def peer(_request, call):
    return json.dumps(view(call)).encode()


def restricted(request, call):
    """Serves the account that the request names, and no other."""
    if list(call.peer_identities() or []) != [request]:
        call.abort(grpc.StatusCode.PERMISSION_DENIED, "this account is not admitted")
    return b""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--plaintext", action="store_true")
    arguments = parser.parse_args()

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=OPTIONS)
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "EchoStream": grpc.stream_stream_rpc_method_handler(echo_stream),
        "Download": grpc.unary_stream_rpc_method_handler(download),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Peer": grpc.unary_unary_rpc_method_handler(peer),
        "Restricted": grpc.unary_unary_rpc_method_handler(restricted),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    if arguments.plaintext:
        server.add_insecure_port(arguments.listen)
    else:
        server.add_secure_port(arguments.listen, grpc.alts_server_credentials())
    server.start()
    print(f"listening on {arguments.listen}", flush=True)
    server.wait_for_termination()


main()
