package interop;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.alts.AltsChannelCredentials;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Stream;

/**
 * One operation of a client on grpc-java, over ALTS: {@code --target IP:PORT --handshaker HOST:PORT [--expect ACCOUNT]…
 * [--deadline SECONDS] OPERATION [ARGUMENT]…}
 *
 * <p>Prints one line of JSON: the status, what the operation yielded, and what ALTS proved about the server. README.md
 * beside the harness describes operations and output.
 */
public final class Client {
  private final Channel channel;
  private final CallOptions options;
  private final Supplier<ManagedChannel> another;

  private Client(Channel channel, CallOptions options, Supplier<ManagedChannel> another) {
    this.channel = channel;
    this.options = options;
    this.another = another;
  }

  public static void main(String[] line) throws Exception {
    Deque<String> arguments = new ArrayDeque<>(Arrays.asList(line));
    String target = null;
    long deadline = 60;
    // Java's words for "not on Google Cloud".
    var credentials = AltsChannelCredentials.newBuilder().enableUntrustedAltsForTesting();
    while (arguments.element().startsWith("--")) {
      String option = arguments.remove();
      String value = arguments.remove();
      switch (option) {
        case "--target" -> target = value;
        case "--handshaker" -> credentials.setHandshakerAddressForTesting(value);
        case "--expect" -> credentials.addTargetServiceAccount(value);
        case "--deadline" -> deadline = Long.parseLong(value);
        default -> throw new IllegalArgumentException("what is " + option + "?");
      }
    }

    var builder = Grpc.newChannelBuilder(target, credentials.build()).maxInboundMessageSize(Integer.MAX_VALUE);
    ManagedChannel channel = builder.build();
    var watch = new Watch();
    var options = CallOptions.DEFAULT.withDeadlineAfter(deadline, TimeUnit.SECONDS);
    var client = new Client(ClientInterceptors.intercept(channel, watch), options, builder::build);
    var report = new JsonObject();
    try {
      JsonObject answer = client.operation(arguments.remove(), List.copyOf(arguments));
      report.addProperty("status", "OK");
      report.add("answer", answer);
    } catch (StatusRuntimeException error) {
      report.addProperty("status", error.getStatus().getCode().name());
      report.addProperty("details", details(error.getStatus()));
    }
    if (watch.view != null) {
      report.add("view", watch.view);
    }
    System.out.println(report);
    channel.shutdownNow().awaitTermination(1, TimeUnit.SECONDS);
    System.exit(0);
  }

  private JsonObject operation(String name, List<String> arguments) throws InterruptedException {
    return switch (name) {
      case "echo" -> echo(number(arguments, 0));
      case "echo-stream" -> echoStream(number(arguments, 0), number(arguments, 1));
      case "download" -> download(number(arguments, 0), number(arguments, 1));
      case "upload" -> upload(number(arguments, 0), number(arguments, 1));
      case "connections" -> connections(number(arguments, 0));
      case "peer" -> json(unary(TestService.PEER, new byte[0]));
      case "restricted" -> {
        unary(TestService.RESTRICTED, arguments.get(0).getBytes(UTF_8));
        yield new JsonObject();
      }
      default -> throw new IllegalArgumentException("what is " + name + "?");
    };
  }

  private JsonObject echo(int size) {
    byte[] sent = TestService.message(0, size);
    var answer = new JsonObject();
    answer.addProperty("intact", Arrays.equals(unary(TestService.ECHO, sent), sent));
    return answer;
  }

  /** A call on each of that many new connections, all at once. */
  private JsonObject connections(int count) {
    byte[] sent = TestService.message(0, 100);
    var echoes =
        Stream.generate(another)
            .limit(count)
            .map(one -> ClientCalls.futureUnaryCall(one.newCall(TestService.ECHO, options), sent))
            .toList();
    int intact = 0;
    for (var echo : echoes) {
      try {
        intact += Arrays.equals(echo.get(), sent) ? 1 : 0;
      } catch (ExecutionException | InterruptedException error) {
        throw Status.fromThrowable(error).asRuntimeException();
      }
    }
    var answer = new JsonObject();
    answer.addProperty("intact", intact);
    return answer;
  }

  private JsonObject echoStream(int messages, int size) throws InterruptedException {
    var tally = new TestService.Tally();
    var call = new Streaming(messages, size, tally::add);
    ClientCalls.asyncBidiStreamingCall(channel.newCall(TestService.ECHO_STREAM, options), call);
    call.await();
    return tally.toJson();
  }

  private JsonObject download(int messages, int size) {
    var order = new JsonObject();
    order.addProperty("messages", messages);
    order.addProperty("size", size);
    var tally = new TestService.Tally();
    byte[] request = order.toString().getBytes(UTF_8);
    ClientCalls.blockingServerStreamingCall(channel, TestService.DOWNLOAD, options, request)
        .forEachRemaining(tally::add);
    return tally.toJson();
  }

  private JsonObject upload(int messages, int size) throws InterruptedException {
    var answer = new CompletableFuture<byte[]>();
    var call = new Streaming(messages, size, answer::complete);
    ClientCalls.asyncClientStreamingCall(channel.newCall(TestService.UPLOAD, options), call);
    call.await();
    return json(answer.join());
  }

  private byte[] unary(MethodDescriptor<byte[], byte[]> method, byte[] request) {
    return ClientCalls.blockingUnaryCall(channel, method, options, request);
  }

  private static int number(List<String> arguments, int at) {
    return Integer.parseInt(arguments.get(at));
  }

  private static JsonObject json(byte[] answer) {
    return JsonParser.parseString(new String(answer, UTF_8)).getAsJsonObject();
  }

  /** The description, and what has led to it, in one line. */
  private static String details(Status status) {
    var details = new StringBuilder(String.valueOf(status.getDescription()));
    for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
      details.append(": ").append(cause.getMessage());
    }
    return details.toString().replace("\n", ": ");
  }

  /** A call with a stream of requests. */
  private static final class Streaming implements ClientResponseObserver<byte[], byte[]> {
    private final int messages;
    private final int size;
    private final Consumer<byte[]> received;
    private final CompletableFuture<Void> ended = new CompletableFuture<>();

    Streaming(int messages, int size, Consumer<byte[]> received) {
      this.messages = messages;
      this.size = size;
      this.received = received;
    }

    void await() throws InterruptedException {
      try {
        ended.get();
      } catch (ExecutionException error) {
        throw Status.fromThrowable(error.getCause()).asRuntimeException();
      }
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<byte[]> out) {
      out.setOnReadyHandler(new Sending(out, out::isReady, messages, size));
    }

    @Override
    public void onNext(byte[] response) {
      received.accept(response);
    }

    @Override
    public void onError(Throwable error) {
      ended.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      ended.complete(null);
    }
  }

  /** Looks at what the connection of each call has proved, once there is one. */
  private static final class Watch implements ClientInterceptor {
    volatile JsonObject view;

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<A> listener, Metadata headers) {
          super.start(
              new SimpleForwardingClientCallListener<>(listener) {
                @Override
                public void onHeaders(Metadata headers) {
                  look();
                  super.onHeaders(headers);
                }

                @Override
                public void onClose(Status status, Metadata trailers) {
                  // Without headers when the call has been refused.
                  look();
                  super.onClose(status, trailers);
                }
              },
              headers);
        }

        private void look() {
          JsonObject found = View.of(getAttributes());
          if (found != null) {
            view = found;
          }
        }
      };
    }
  }
}
