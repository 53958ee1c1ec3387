//! What ALTS proved, in the words that all implementations' programs use for it.

use alts_core::AltsContext;
use alts_core::msg::RpcVersion;
use serde_json::{Value, json};

/// The context as names and values.
#[must_use]
pub fn view(context: &AltsContext) -> Value {
    let versions = context.peer_rpc_versions();
    let (min, max) = (versions.min_rpc_version, versions.max_rpc_version);
    json!({
        "transport_security_type": "alts",
        "application_protocol": context.application_protocol(),
        "record_protocol": context.record_protocol().name(),
        "security_level": context.security_level().name(),
        "peer_service_account": context.peer_service_account(),
        "local_service_account": context.local_service_account(),
        "peer_rpc_versions": format!("{}..{}", version(min), version(max)),
    })
}

fn version(version: Option<RpcVersion>) -> String {
    let RpcVersion { major, minor } = version.unwrap_or_default();
    format!("{major}.{minor}")
}
