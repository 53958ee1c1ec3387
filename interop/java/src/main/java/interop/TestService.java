package interop;

import com.google.gson.JsonObject;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** What the client and the server of this peer have in common: the test service's methods and its data. */
final class TestService {
  static final String NAME = "alts.interop.Test";
  static final MethodDescriptor<byte[], byte[]> ECHO = method("Echo", MethodType.UNARY);
  static final MethodDescriptor<byte[], byte[]> ECHO_STREAM = method("EchoStream", MethodType.BIDI_STREAMING);
  static final MethodDescriptor<byte[], byte[]> DOWNLOAD = method("Download", MethodType.SERVER_STREAMING);
  static final MethodDescriptor<byte[], byte[]> UPLOAD = method("Upload", MethodType.CLIENT_STREAMING);
  static final MethodDescriptor<byte[], byte[]> PEER = method("Peer", MethodType.UNARY);
  static final MethodDescriptor<byte[], byte[]> RESTRICTED = method("Restricted", MethodType.UNARY);

  private TestService() {}

  /** The message number {@code index} of a stream: consecutive 32-bit words, little-endian, from index << 18 on. */
  static byte[] message(int index, int size) {
    int words = size / 4 + (size % 4 == 0 ? 0 : 1);
    byte[] message = new byte[words * 4];
    var out = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer();
    for (int word = 0; word < words; word++) {
      out.put((index << 18) + word);
    }
    return words * 4 == size ? message : Arrays.copyOf(message, size);
  }

  /** What has been received of a stream. */
  static final class Tally {
    private int messages;
    private long bytes;
    private boolean intact = true;

    void add(byte[] received) {
      intact &= Arrays.equals(received, message(messages, received.length));
      messages++;
      bytes += received.length;
    }

    JsonObject toJson() {
      var report = new JsonObject();
      report.addProperty("messages", messages);
      report.addProperty("bytes", bytes);
      report.addProperty("intact", intact);
      return report;
    }
  }

  private static MethodDescriptor<byte[], byte[]> method(String name, MethodType type) {
    return MethodDescriptor.newBuilder(new Bytes(), new Bytes())
        .setFullMethodName(MethodDescriptor.generateFullMethodName(NAME, name))
        .setType(type)
        .build();
  }

  /** Carries every message as it is, so that nothing has to be generated. */
  private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] message) {
      return new ByteArrayInputStream(message);
    }

    @Override
    public byte[] parse(InputStream message) {
      try {
        return message.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }
}
