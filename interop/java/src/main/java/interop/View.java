package interop;

import com.google.gson.JsonObject;
import io.grpc.Attributes;
import io.grpc.alts.AltsContext;
import io.grpc.alts.AltsContextUtil;
import io.grpc.alts.internal.AltsInternalContext;
import io.grpc.alts.internal.AltsProtocolNegotiator;
import io.grpc.alts.internal.RpcProtocolVersions;

/** What ALTS proved, in the words that all implementations' programs use for it. */
final class View {
  private View() {}

  /** The view of a connection with these attributes; null when it is not ALTS. */
  static JsonObject of(Attributes attributes) {
    if (!AltsContextUtil.check(attributes)) {
      return null;
    }
    AltsContext proved = AltsContextUtil.createFrom(attributes);
    // The public class has no more than the accounts and the level. It is made of this one.
    var all = (AltsInternalContext) attributes.get(AltsProtocolNegotiator.AUTH_CONTEXT_KEY);
    RpcProtocolVersions versions = all.getPeerRpcVersions();
    var view = new JsonObject();
    view.addProperty("transport_security_type", "alts");
    view.addProperty("application_protocol", all.getApplicationProtocol());
    view.addProperty("record_protocol", all.getRecordProtocol());
    view.addProperty("security_level", proved.getSecurityLevel().name());
    view.addProperty("peer_service_account", proved.getPeerServiceAccount());
    view.addProperty("local_service_account", proved.getLocalServiceAccount());
    view.addProperty(
        "peer_rpc_versions", version(versions.getMinRpcVersion()) + ".." + version(versions.getMaxRpcVersion()));
    return view;
  }

  private static String version(RpcProtocolVersions.Version version) {
    return version.getMajor() + "." + version.getMinor();
  }
}
