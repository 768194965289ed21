//! `--probe-listen`: the health endpoints apart from the API.

use std::net::TcpListener;

use reqwest::StatusCode;

use crate::support::gybe::Gybe;

#[tokio::test]
async fn probes_have_a_listener_of_their_own() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let gybe = Gybe::start_with(&["--probe-listen", &address]);
    for path in ["/healthz", "/readyz", "/metrics"] {
        let probed = gybe.client.get(format!("http://{address}{path}")).send().await.unwrap();
        assert_eq!(probed.status(), StatusCode::OK, "{path}");
        assert_eq!(gybe.get(path).await.status, StatusCode::OK, "{path} is served by the API, too");
    }
    let api = gybe.client.get(format!("http://{address}/vnflcm/v1/vnf_instances")).send().await.unwrap();
    assert_eq!(api.status(), StatusCode::NOT_FOUND);
    let rebound = gybe.client.get(format!("http://{address}/metrics")).header("Host", "attacker.example");
    assert_eq!(rebound.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}
