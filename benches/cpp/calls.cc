// What ALTS costs C++ gRPC, reported to the program that compares. It reads lines WHAT SIZE COUNT, does
// that, and answers each with the seconds of CPU time that it took the whole process, client and server:
//
//   unary-plain, unary-alts     COUNT calls that echo that size
//   stream-plain, stream-alts   one call that brings COUNT messages of that size
//
// It calls and serves as the code does that protoc makes for the synchronous interface; the messages are
// bytes.

#include <sys/resource.h>

#include <iomanip>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/method_handler.h>
#include <grpcpp/impl/codegen/rpc_method.h>
#include <grpcpp/impl/codegen/rpc_service_method.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/impl/codegen/sync_stream.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/support/byte_buffer.h>

namespace {

using grpc::ByteBuffer;
using grpc::internal::RpcMethod;

constexpr char kUnary[] = "/alts.bench.Echo/Unary";
constexpr char kStream[] = "/alts.bench.Echo/Stream";

ByteBuffer Message(size_t size) {
    grpc::Slice slice(std::string(size, 5));
    return ByteBuffer(&slice, 1);
}

class Echo final : public grpc::Service {
  public:
    Echo() : large_(Message(1 << 20)) {
        AddMethod(new grpc::internal::RpcServiceMethod(
            kUnary, RpcMethod::NORMAL_RPC,
            new grpc::internal::RpcMethodHandler<Echo, ByteBuffer, ByteBuffer>(
                [](Echo*, grpc::ServerContext*, const ByteBuffer* request, ByteBuffer* response) {
                    *response = *request;
                    return grpc::Status::OK;
                },
                this)));
        AddMethod(new grpc::internal::RpcServiceMethod(
            kStream, RpcMethod::SERVER_STREAMING,
            new grpc::internal::ServerStreamingHandler<Echo, ByteBuffer, ByteBuffer>(
                [](Echo* echo, grpc::ServerContext*, const ByteBuffer* request,
                   grpc::ServerWriter<ByteBuffer>* writer) {
                    // The request says, by its length, how many messages are wanted.
                    for (size_t left = request->Length(); left > 0; left--) writer->Write(echo->large_);
                    return grpc::Status::OK;
                },
                this)));
    }

  private:
    const ByteBuffer large_;
};

void Check(const grpc::Status& status) {
    if (!status.ok()) throw std::runtime_error(status.error_message());
}

// A client and its server, in this process, over the loopback interface.
class Calls {
  public:
    explicit Calls(bool alts) {
        auto of_server = alts ? grpc::experimental::AltsServerCredentials({}) : grpc::InsecureServerCredentials();
        auto of_client = alts ? grpc::experimental::AltsCredentials({}) : grpc::InsecureChannelCredentials();
        int port = 0;
        grpc::ServerBuilder builder;
        builder.SetMaxReceiveMessageSize(-1);
        builder.AddListeningPort("127.0.0.1:0", of_server, &port);
        builder.RegisterService(&echo_);
        server_ = builder.BuildAndStart();
        if (server_ == nullptr) throw std::runtime_error("the server does not start");
        grpc::ChannelArguments arguments;
        arguments.SetMaxReceiveMessageSize(-1);
        channel_ = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), of_client, arguments);
        // Connects, and says at once what is wrong.
        Unary(1, 1);
    }

    void Unary(size_t size, size_t count) {
        const RpcMethod method(kUnary, RpcMethod::NORMAL_RPC, channel_);
        const ByteBuffer request = Message(size);
        for (; count > 0; count--) {
            grpc::ClientContext context;
            ByteBuffer response;
            Check(grpc::internal::BlockingUnaryCall<ByteBuffer, ByteBuffer>(channel_.get(), method, &context, request,
                                                                            &response));
        }
    }

    void Stream(size_t size, size_t count) {
        const RpcMethod method(kStream, RpcMethod::SERVER_STREAMING, channel_);
        grpc::ClientContext context;
        std::unique_ptr<grpc::ClientReader<ByteBuffer>> reader(
            grpc::internal::ClientReaderFactory<ByteBuffer>::Create(channel_.get(), method, &context, Message(count)));
        for (ByteBuffer message; reader->Read(&message); message.Clear()) {
            if (message.Length() != size) throw std::runtime_error("the server's messages have another size");
        }
        Check(reader->Finish());
    }

  private:
    Echo echo_;
    std::unique_ptr<grpc::Server> server_;
    std::shared_ptr<grpc::Channel> channel_;
};

double CpuTime() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

}  // namespace

int main() try {
    Calls plain(false), alts(true);
    std::cout << "ready" << std::endl << std::setprecision(9);
    std::string what;
    size_t size, count;
    while (std::cin >> what >> size >> count) {
        Calls& calls = what.size() > 5 && what.compare(what.size() - 5, 5, "-alts") == 0 ? alts : plain;
        const double start = CpuTime();
        if (what.compare(0, 5, "unary") == 0) {
            calls.Unary(size, count);
        } else {
            calls.Stream(size, count);
        }
        std::cout << CpuTime() - start << std::endl;
    }
} catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
