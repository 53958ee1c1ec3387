package interop;

import static io.grpc.stub.ServerCalls.asyncBidiStreamingCall;
import static io.grpc.stub.ServerCalls.asyncClientStreamingCall;
import static io.grpc.stub.ServerCalls.asyncServerStreamingCall;
import static io.grpc.stub.ServerCalls.asyncUnaryCall;
import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.alts.AltsServerCredentials;
import io.grpc.alts.AuthorizationUtil;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls.UnaryMethod;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.Iterator;
import java.util.List;
import java.util.function.Function;

/**
 * The test service on grpc-java, over ALTS: {@code --listen IP:PORT --handshaker HOST:PORT}
 *
 * <p>Prints one line when it listens, and serves until it is ended. README.md beside the harness describes the service.
 */
public final class Server {
  private Server() {}

  public static void main(String[] arguments) throws Exception {
    String listen = null;
    // Java's words for "not on Google Cloud".
    var credentials = AltsServerCredentials.newBuilder().enableUntrustedAltsForTesting();
    Iterator<String> line = List.of(arguments).iterator();
    while (line.hasNext()) {
      String option = line.next();
      switch (option) {
        case "--listen" -> listen = line.next();
        case "--handshaker" -> credentials.setHandshakerAddressForTesting(line.next());
        default -> throw new IllegalArgumentException("what is " + option + "?");
      }
    }

    int colon = listen.lastIndexOf(':');
    var address = new InetSocketAddress(listen.substring(0, colon), Integer.parseInt(listen.substring(colon + 1)));
    io.grpc.Server server =
        NettyServerBuilder.forAddress(address, credentials.build())
            .maxInboundMessageSize(Integer.MAX_VALUE)
            .addService(service())
            .build()
            .start();
    System.out.println("listening on " + listen);
    server.awaitTermination();
  }

  private static ServerServiceDefinition service() {
    return ServerServiceDefinition.builder(TestService.NAME)
        .addMethod(TestService.ECHO, asyncUnaryCall(Server::echo))
        .addMethod(TestService.ECHO_STREAM, asyncBidiStreamingCall(Server::echoStream))
        .addMethod(TestService.DOWNLOAD, asyncServerStreamingCall(Server::download))
        .addMethod(TestService.UPLOAD, asyncClientStreamingCall(Server::upload))
        .addMethod(TestService.PEER, unary(call -> (request, out) -> peer(call, out)))
        .addMethod(TestService.RESTRICTED, unary(call -> (request, out) -> restricted(call, request, out)))
        .build();
  }

  /** A method that sees its call as well: it says what ALTS proved. */
  private static ServerCallHandler<byte[], byte[]> unary(
      Function<ServerCall<byte[], byte[]>, UnaryMethod<byte[], byte[]>> method) {
    return (call, headers) -> asyncUnaryCall(method.apply(call)).startCall(call, headers);
  }

  private static void echo(byte[] request, StreamObserver<byte[]> out) {
    answer(out, request);
  }

  private static StreamObserver<byte[]> echoStream(StreamObserver<byte[]> out) {
    return new Requests() {
      @Override
      public void onNext(byte[] request) {
        out.onNext(request);
      }

      @Override
      public void onCompleted() {
        out.onCompleted();
      }
    };
  }

  /** Sends as many messages of that size as the request orders, no faster than they are taken. */
  private static void download(byte[] request, StreamObserver<byte[]> out) {
    JsonObject order = JsonParser.parseString(new String(request, UTF_8)).getAsJsonObject();
    int messages = order.get("messages").getAsInt();
    int size = order.get("size").getAsInt();
    var flow = (ServerCallStreamObserver<byte[]>) out;
    flow.setOnReadyHandler(new Sending(flow, flow::isReady, messages, size));
  }

  private static StreamObserver<byte[]> upload(StreamObserver<byte[]> out) {
    var tally = new TestService.Tally();
    return new Requests() {
      @Override
      public void onNext(byte[] request) {
        tally.add(request);
      }

      @Override
      public void onCompleted() {
        answer(out, tally.toJson().toString().getBytes(UTF_8));
      }
    };
  }

  /** What ALTS proved to this server about the client. */
  private static void peer(ServerCall<?, ?> call, StreamObserver<byte[]> out) {
    JsonObject view = View.of(call.getAttributes());
    if (view == null) {
      out.onError(Status.UNAUTHENTICATED.withDescription("the connection is not ALTS").asRuntimeException());
    } else {
      answer(out, view.toString().getBytes(UTF_8));
    }
  }

  /** Serves the account that the request names, and no other. */
  private static void restricted(ServerCall<?, ?> call, byte[] request, StreamObserver<byte[]> out) {
    Status status = AuthorizationUtil.clientAuthorizationCheck(call, List.of(new String(request, UTF_8)));
    if (status.isOk()) {
      answer(out, new byte[0]);
    } else {
      out.onError(status.asRuntimeException());
    }
  }

  private static void answer(StreamObserver<byte[]> out, byte[] answer) {
    out.onNext(answer);
    out.onCompleted();
  }

  /** A stream of requests; when it breaks, there is nobody left to answer. */
  private abstract static class Requests implements StreamObserver<byte[]> {
    @Override
    public void onError(Throwable error) {
      System.err.println("a stream of requests has ended: " + error);
    }
  }
}
