"""What ALTS costs gRPC C core, reported to the program that compares.

It reads lines WHAT SIZE COUNT, does that, and answers each with the seconds of CPU time that it took the whole
process, client and server:

    unary-plain, unary-alts     COUNT calls that echo that size
    stream-plain, stream-alts   one call that brings COUNT messages of that size
"""

import resource
import sys
from concurrent import futures

import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SERVICE, DEADLINE = "alts.bench.Echo", 60
LARGE = bytes(1 << 20)


class Calls:
    """A client and its server, in this process, over the loopback interface."""

    def __init__(self, alts):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=OPTIONS)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
            "Stream": grpc.unary_stream_rpc_method_handler(lambda request, _: (LARGE for _ in request)),
        }
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        if alts:
            port = self.server.add_secure_port("127.0.0.1:0", grpc.alts_server_credentials())
            self.channel = grpc.secure_channel(f"127.0.0.1:{port}", grpc.alts_channel_credentials(), OPTIONS)
        else:
            port = self.server.add_insecure_port("127.0.0.1:0")
            self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS)
        self.server.start()
        # Connects, and says at once what is wrong.
        self.unary(1, 1)

    def unary(self, size, count):
        call, request = self.channel.unary_unary(f"/{SERVICE}/Unary"), bytes(size)
        for _ in range(count):
            call(request, timeout=DEADLINE)

    def stream(self, size, count):
        """The request says, by its length, how many messages are wanted."""
        for message in self.channel.unary_stream(f"/{SERVICE}/Stream")(bytes(count), timeout=DEADLINE):
            if len(message) != size:
                raise ValueError("the server's messages have another size")


def cpu_time():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    plain, alts = Calls(alts=False), Calls(alts=True)
    work = {
        "unary-plain": plain.unary,
        "unary-alts": alts.unary,
        "stream-plain": plain.stream,
        "stream-alts": alts.stream,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        what, size, count = line.split()
        start = cpu_time()
        work[what](int(size), int(count))
        print(cpu_time() - start, flush=True)


main()
