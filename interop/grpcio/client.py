"""One operation of a client on gRPC C core, over ALTS: client.py --target IP:PORT --expect ACCOUNT OPERATION …

Prints one line of JSON: the status, what the operation yielded, and what ALTS proved about the server.
README.md beside the harness describes operations and output.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--expect", action="append", default=[])
    parser.add_argument("--deadline", type=float, default=60)
    parser.add_argument("--plaintext", action="store_true")
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("arguments", nargs="*")
    arguments = parser.parse_args()

    with Trace(wanted=arguments.operation == "peer") as trace:
        report = call(arguments)
    if trace.properties:
        from common import view

        report["view"] = view(trace.properties)
    print(json.dumps(report))


def call(arguments):
    import grpc

    from common import OPTIONS, SERVICE

    def connect(*options):
        if arguments.plaintext:
            return grpc.insecure_channel(arguments.target, [*OPTIONS, *options])
        credentials = grpc.alts_channel_credentials(arguments.expect)
        return grpc.secure_channel(arguments.target, credentials, [*OPTIONS, *options])

    with connect() as channel:

        def method(kind, name, channel=channel):
            # Bytes in, bytes out: without serializers gRPC carries them as they are.
            multicallable = getattr(channel, kind)(f"/{SERVICE}/{name}")
            return lambda request: multicallable(request, timeout=arguments.deadline)

        # With a connection that it shares with no other channel.
        method.connect = lambda: connect(("grpc.use_local_subchannel_pool", 1))
        try:
            answer = OPERATIONS[arguments.operation](method, *arguments.arguments)
            return {"status": "OK", "answer": answer}
        except grpc.RpcError as error:
            return {"status": error.code().name, "details": error.details()}


def echo(method, size):
    from common import message

    sent = message(0, int(size))
    return {"intact": method("unary_unary", "Echo")(sent) == sent}


def echo_stream(method, messages, size):
    return received(method("stream_stream", "EchoStream")(sent(messages, size)))


def download(method, messages, size):
    order = {"messages": int(messages), "size": int(size)}
    return received(method("unary_stream", "Download")(json.dumps(order).encode()))


def upload(method, messages, size):
    return json.loads(method("stream_unary", "Upload")(sent(messages, size)))


def peer(method):
    return json.loads(method("unary_unary", "Peer")(b""))


def restricted(method, account):
    method("unary_unary", "Restricted")(account.encode())
    return {}


def connections(method, count):
    from common import message

    sent = message(0, 100)
    with contextlib.ExitStack() as open_ones, concurrent.futures.ThreadPoolExecutor(int(count)) as threads:
        channels = [open_ones.enter_context(method.connect()) for _ in range(int(count))]
        echoes = threads.map(lambda channel: method("unary_unary", "Echo", channel)(sent), channels)
        return {"intact": sum(echo == sent for echo in echoes)}


OPERATIONS = {
    "connections": connections,
    "echo": echo,
    "echo-stream": echo_stream,
    "download": download,
    "upload": upload,
    "peer": peer,
    "restricted": restricted,
}


def sent(messages, size):
    from common import message

    return (message(index, int(size)) for index in range(int(messages)))


def received(responses):
    from common import message

    messages, size, intact = 0, 0, True
    for response in responses:
        intact = intact and response == message(messages, len(response))
        messages += 1
        size += len(response)
    return {"messages": messages, "bytes": size, "intact": intact}


class Trace:
    """What ALTS proved about the server.

    Python's clients have no call for it, but C core's trace of its own API shows each property of a
    connection as it is added. The trace goes to the standard error, and it must be enabled before
    C core is loaded.
    """

    # A value with a length may have anything in it, also what looks like the end of its line.
    PROPERTY = re.compile(
        rb"grpc_auth_context_add_property\(ctx=(\w+), name=(\w+), value=(.*?), value_length=(\d+)\)\r?\n"
        rb"|grpc_auth_context_add_cstring_property\(ctx=(\w+), name=(\w+), value=(.*?)()\)\r?\n",
        re.S,
    )

    def __init__(self, wanted):
        self.wanted, self.properties = wanted, {}

    def __enter__(self):
        if self.wanted:
            os.environ |= {"GRPC_TRACE": "api", "GRPC_VERBOSITY": "DEBUG"}
            self.log, self.stderr = tempfile.TemporaryFile(), os.dup(2)
            os.dup2(self.log.fileno(), 2)
        return self

    def __exit__(self, *_):
        if not self.wanted:
            return
        os.dup2(self.stderr, 2)
        self.log.seek(0)
        # There is more than one connection: that to the handshaker service is insecure.
        connections = {}
        for found in self.PROPERTY.findall(self.log.read()):
            connection, name, value, length = found[:4] if found[0] else found[4:]
            # Neither is cut nor goes on behind its end: the whole value was printed.
            if not length or int(length) == len(value):
                connections.setdefault(connection, {})[name.decode()] = value
        for properties in connections.values():
            if properties.get("transport_security_type") == b"alts":
                self.properties = properties


main()
