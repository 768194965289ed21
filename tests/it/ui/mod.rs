//! The dashboard: its files, the sessions of browsers, and a browser that uses it.

mod browser;
mod sessions;

use reqwest::StatusCode;

use crate::support::gybe::Gybe;

#[tokio::test]
async fn files_are_served_with_a_strict_policy_and_assets_are_kept() {
    let gybe = Gybe::start();
    let page = gybe.get("/ui/").await;
    assert_eq!(page.status, StatusCode::OK);
    let header = |name: &str| page.headers[name].to_str().unwrap();
    let policy = header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!((header("x-content-type-options"), header("cache-control")), ("nosniff", "no-cache"));
    assert_eq!(gybe.get("/ui").await.text, page.text, "without the slash, too");

    let script =
        page.text.split("/ui/assets/").find_map(|rest| rest.split('"').next().filter(|name| name.ends_with(".js")));
    let path = format!("/ui/assets/{}", script.unwrap());
    let script = gybe.get(&path).await;
    assert_eq!(script.headers["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(script.headers["x-content-type-options"], "nosniff");
    let packed = gybe.client.get(gybe.uri(&path)).header("Accept-Encoding", "br, gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let size = packed.bytes().await.unwrap().len();
    assert!(size < 40 * 1024 && size < script.text.len(), "{size} bytes");
    gybe.get("/ui/assets/other.js").await.problem(404);
}
