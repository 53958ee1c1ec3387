//! Who may call which paths, however they are spelt.

use http::StatusCode;

use crate::origin::{Origin, call, get, http1, http2, text};
use crate::support::{World, address, soon};

/// A listener with routes: `/` for all, `/admin` for `root@dev.test`, `/secret` for nobody.
fn config(origin: &Origin) -> String {
    format!(
        "[[listen]]\nname = \"alts\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
         handshaker = \"dev:server@dev.test\"\nany_peer = true\nlevel = \"http\"\n\
         upstream = \"server\"\n\
         [[listen.route]]\nprefix = \"/\"\nany_peer = true\n\
         [[listen.route]]\nprefix = \"/v1/users:delete\"\nallow = [\"root@dev.test\"]\n\
         [[listen.route]]\nprefix = \"/@admin\"\nallow = [\"root@dev.test\"]\n\
         [[listen.route]]\nprefix = \"/\u{fc} x\"\nallow = [\"root@dev.test\"]\n\
         [[listen.route]]\nprefix = \"/admin\"\nallow = [\"root@dev.test\"]\n\
         [[listen.route]]\nprefix = \"/grpc.Admin\"\nallow = [\"root@dev.test\"]\n\
         [[listen.route]]\nprefix = \"/ops\"\nallow = [\"*@ops.dev.test\", \"bot@*.dev.test\"]\n\
         [[listen.route]]\nprefix = \"/secret\"\nallow = []\n\
         [[upstream]]\nname = \"server\"\naddresses = [\"{}\"]\n",
        origin.address
    )
}

#[tokio::test]
async fn a_route_may_name_accounts_by_pattern() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&config(&origin)).await;
    let alts = address(&proxy, "alts").await;
    for (account, status) in [
        ("root@ops.dev.test", StatusCode::OK),
        ("bot@eu.dev.test", StatusCode::OK),
        ("bot@dev.test", StatusCode::FORBIDDEN),
        ("root@xops.dev.test", StatusCode::FORBIDDEN),
    ] {
        let mut client = http1(world.connect(account, "server@dev.test", alts).await).await;
        let response = soon(client.send_request(get("/ops/x"))).await.unwrap();
        assert_eq!(response.status(), status, "{account}");
    }
}

#[tokio::test]
async fn a_path_is_for_those_whom_its_route_names() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&config(&origin)).await;
    let alts = address(&proxy, "alts").await;
    let client =
        async |account: &str| http1(world.connect(account, "server@dev.test", alts).await).await;
    let (mut user, mut root) = (client("user@dev.test").await, client("root@dev.test").await);
    let paths = [
        "/admin",
        "/admin/x?y",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/%61dmin",
        "/x/%2e%2e/admin",
        "/%2E/admin",
        "/admin;x",
        "/x/..//admin/",
    ];
    for path in paths {
        let response = soon(user.send_request(get(path))).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        let said = text(response).await;
        assert!(said.contains("not allowed to call this path"), "{said}");
        let response = soon(root.send_request(get(path))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let said = text(response).await;
        assert!(said.starts_with("GET /admin"), "the upstream gets what was judged: {said}");
    }
    for path in ["/admin%2fx", "/x%5c..%5cadmin", "/x/..;/admin", "/%252e%252e/admin", "/a%00"] {
        for client in [&mut user, &mut root] {
            let response = soon(client.send_request(get(path))).await.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
            text(response).await;
        }
    }
    for path in ["/", "/administrator", "/x?next=/admin", "/x%20y"] {
        let response = soon(user.send_request(get(path))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let said = text(response).await;
        assert!(said.starts_with(&format!("GET {path} ")), "{said}");
    }
    for (path, one) in [
        ("/v1/users%3Adelete", "/v1/users:delete"),
        ("/%76%31/users%3adelete", "/v1/users:delete"),
        ("/%40admin", "/@admin"),
        ("/%C3%BC%20x", "/%C3%BC%20x"),
        ("/%c3%bc%20%78", "/%C3%BC%20x"),
    ] {
        let response = soon(user.send_request(get(path))).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        text(response).await;
        let said = text(soon(root.send_request(get(path))).await.unwrap()).await;
        assert!(said.starts_with(&format!("GET {one} ")), "in one notation: {said}");
    }
    let response = soon(root.send_request(get("/secret"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN, "not even root");
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_in_its_own_way() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&config(&origin)).await;
    let alts = address(&proxy, "alts").await;
    let stream = world.connect("user@dev.test", "server@dev.test", alts).await;
    let mut client = http2(stream).await;
    let response = soon(client.send_request(call("/grpc.Admin/Stop"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "7", "PERMISSION_DENIED");
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert!(message.contains("not allowed"), "{message}");
    // The connection goes on.
    let response = soon(client.send_request(call("/grpc.Service/Call"))).await.unwrap();
    assert!(!response.headers().contains_key("grpc-status"));
}
