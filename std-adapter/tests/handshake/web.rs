//! axum's server and hyper-util's client over ALTS.

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio_alts::{
    AltsAcceptor, AltsConnectInfo, AltsConnector, AltsHttpConnector, AltsIncoming, AltsRequest,
    ClientConfig, RequireServiceAccounts, ServerConfig,
};
use tower::ServiceExt;

use crate::support::*;

async fn who(ConnectInfo(info): ConnectInfo<AltsConnectInfo>) -> String {
    format!("{} {}", info.context().peer_service_account(), info.remote_addr().is_some())
}

async fn context(request: Request<axum::body::Body>) -> String {
    request.alts_context().unwrap().peer_service_account().to_owned()
}

#[tokio::test]
async fn axum_and_hyper_know_who_the_other_is() {
    for protocol in ["http/1.1", "h2"] {
        let (ours, theirs) = services();
        let config = ServerConfig::builder().any_peer().application_protocols(["h2", "http/1.1"]);
        let acceptor = AltsAcceptor::new(config.build().unwrap(), theirs);
        let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await.unwrap();
        let address = incoming.local_addr().unwrap();
        let vault = get(who).layer(RequireServiceAccounts::new(["admin@dev.test"]));
        let router = Router::new()
            .route("/who", get(who))
            .route("/context", get(context))
            .route("/vault", vault)
            .into_make_service_with_connect_info::<AltsConnectInfo>();
        tokio::spawn(async move { axum::serve(incoming, router).await.unwrap() });

        let config = ClientConfig::builder().expect_peer(SERVER).application_protocols([protocol]);
        let connector = AltsConnector::new(config.build().unwrap(), ours);
        let client: Client<_, axum::body::Body> =
            Client::builder(TokioExecutor::new()).build(AltsHttpConnector::new(connector));
        let get = async |path: &str| {
            let uri: Uri = format!("http://{address}{path}").parse().unwrap();
            let response = client.get(uri).await.unwrap();
            let server = response.extensions().alts_context().unwrap().clone();
            assert_eq!(server.peer_service_account(), SERVER);
            assert_eq!(server.application_protocol(), protocol);
            let h2 = response.version() == http::Version::HTTP_2;
            assert_eq!(h2, protocol == "h2");
            let status = response.status();
            let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1000);
            (status, body.await.unwrap())
        };
        let expected = Bytes::from(format!("{CLIENT} true"));
        assert_eq!(get("/who").await, (StatusCode::OK, expected));
        assert_eq!(get("/context").await, (StatusCode::OK, Bytes::from(CLIENT)));
        assert_eq!(get("/vault").await, (StatusCode::FORBIDDEN, Bytes::new()));
    }
}

#[tokio::test]
async fn without_alts_the_answer_is_401() {
    let router: Router<()> = Router::new()
        .route("/", get(|| async { "in" }))
        .layer(RequireServiceAccounts::new(["admin@dev.test"]));
    let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
