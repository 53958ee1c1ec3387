package interop;

import io.grpc.stub.StreamObserver;
import java.util.function.BooleanSupplier;

/** Sends the messages of a stream, no faster than they are taken: what gRPC calls when the stream is ready. */
final class Sending implements Runnable {
  private final StreamObserver<byte[]> out;
  private final BooleanSupplier ready;
  private final int messages;
  private final int size;
  private int sent;
  private boolean complete;

  Sending(StreamObserver<byte[]> out, BooleanSupplier ready, int messages, int size) {
    this.out = out;
    this.ready = ready;
    this.messages = messages;
    this.size = size;
  }

  @Override
  public void run() {
    while (sent < messages && ready.getAsBoolean()) {
      out.onNext(TestService.message(sent++, size));
    }
    if (sent == messages && !complete) {
      complete = true;
      out.onCompleted();
    }
  }
}
