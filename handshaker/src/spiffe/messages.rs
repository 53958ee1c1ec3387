//! The messages of the three protocols, as far as they are used, and where their methods are.
//!
//! Written by hand from the published definitions, of which little is needed here:
//! `workload.proto` of the SPIFFE Workload API, `broker.proto` of the SPIFFE Broker API, and
//! `delegatedidentity.proto` of SPIRE's agent. Fields that are not read are left out.

use std::collections::HashMap;
use std::fmt;

use prost::Message;
use zeroize::Zeroize;

/// `SpiffeWorkloadAPI.FetchX509SVID`.
pub(super) const WORKLOAD: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// `spiffe.broker.API.SubscribeToX509SVID`.
pub(super) const BROKER: &str = "/spiffe.broker.API/SubscribeToX509SVID";
/// `spire.api.agent.delegatedidentity.v1.DelegatedIdentity.SubscribeToX509SVIDs`.
pub(super) const DELEGATED_SVIDS: &str =
    "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509SVIDs";
/// `spire.api.agent.delegatedidentity.v1.DelegatedIdentity.SubscribeToX509Bundles`.
pub(super) const DELEGATED_BUNDLES: &str =
    "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509Bundles";

/// The type of [`PidReference`] in an `Any`.
pub(super) const PID_REFERENCE: &str = "type.googleapis.com/spiffe.broker.WorkloadPIDReference";

/// A request that says nothing: `X509SVIDRequest`, `SubscribeToX509BundlesRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Nothing {}

/// `X509SVIDResponse` of the Workload API; the Broker API's `SubscribeToX509SVIDResponse` has the same
/// fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<Document>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`: certificates are DER, one behind the other.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Document {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
}

/// `SubscribeToX509SVIDRequest` of the Broker API.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BrokerRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) reference: Option<WorkloadReference>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WorkloadReference {
    #[prost(message, optional, tag = "1")]
    pub(super) reference: Option<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyMessage {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `WorkloadPIDReference`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PidReference {
    #[prost(int32, tag = "1")]
    pub(super) pid: i32,
}

/// `SubscribeToX509SVIDsRequest` of the Delegated Identity API: selectors or a process, not both.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DelegatedRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) selectors: Vec<SelectorMessage>,
    #[prost(int32, tag = "2")]
    pub(super) pid: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SelectorMessage {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `SubscribeToX509SVIDsResponse` of the Delegated Identity API.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DelegatedSvids {
    #[prost(message, repeated, tag = "1")]
    pub(super) x509_svids: Vec<WithKey>,
    /// Trust domains, by name.
    #[prost(string, repeated, tag = "2")]
    pub(super) federates_with: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct WithKey {
    #[prost(message, optional, tag = "1")]
    pub(super) x509_svid: Option<SvidOnly>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid_key: Vec<u8>,
}

/// `spire.api.types.X509SVID`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SvidOnly {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) cert_chain: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "2")]
    pub(super) id: Option<Id>,
}

/// `spire.api.types.SPIFFEID`: the path begins with a slash.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Id {
    #[prost(string, tag = "1")]
    pub(super) trust_domain: String,
    #[prost(string, tag = "2")]
    pub(super) path: String,
}

/// `SubscribeToX509BundlesResponse` of the Delegated Identity API, by trust domain.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Bundles {
    #[prost(map = "string, bytes", tag = "1")]
    pub(super) ca_certificates: HashMap<String, Vec<u8>>,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.x509_svid_key.zeroize();
    }
}

impl Drop for WithKey {
    fn drop(&mut self) {
        self.x509_svid_key.zeroize();
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for WithKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithKey").field("x509_svid", &self.x509_svid).finish_non_exhaustive()
    }
}
