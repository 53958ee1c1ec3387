"""The test service on gRPC C core, over ALTS: server.py --listen IP:PORT [--plaintext]

Prints one line when it listens, and serves until it is ended. README.md beside the harness describes the service.
"""

import argparse
import json
from concurrent import futures

import grpc

from common import OPTIONS, SERVICE, message, view


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


def peer(_request, call):
    """What ALTS proved to this server about the client, as Python's API reports it."""
    properties = {name: b"".join(values) for name, values in call.auth_context().items()}
    if list(call.peer_identities() or []) != [properties.get("service_account")]:
        call.abort(grpc.StatusCode.UNAUTHENTICATED, f"no single account: {call.peer_identities()}, {properties}")
    return json.dumps(view(properties)).encode()


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
