//! Lists over HTTP: pages, and that what is read is never older than the last change.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::Gybe;

#[tokio::test]
async fn a_list_longer_than_a_page_leads_on_by_its_link_to_the_last_page_which_has_none() {
    let gybe = Gybe::start_with(&["--page-size", "2"]);
    let vnfd = gybe.onboard("small").await;
    let mut made = Vec::new();
    for edition in ["v1", "v2", "v1", "v2", "v1"] {
        made.push(gybe.create(edition, &vnfd).await.rsplit_once('/').unwrap().1.to_owned());
    }
    for edition in ["v1", "v2"] {
        let mut next = Some(format!("/vnflcm/{edition}/vnf_instances"));
        let mut pages = Vec::new();
        while let Some(path) = next {
            let answer = gybe.client.get(gybe.uri(&path)).send().await.unwrap();
            let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            next = link.map(|link| link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned());
            let page: Vec<Value> = answer.json().await.unwrap();
            assert!(page.iter().all(|one| one["_links"]["self"]["href"].as_str().unwrap().contains(edition)));
            pages.push(page.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        let mut listed = pages.concat();
        listed.sort();
        made.sort();
        assert_eq!(listed, made, "each is there once");
    }
    let foreign = gybe.get("/vnflcm/v1/vnf_instances?nextpage_opaque_marker=mine").await;
    assert_eq!(foreign.expect(StatusCode::BAD_REQUEST)["status"], 400);
}

#[tokio::test]
async fn what_is_read_again_shows_the_change_in_between() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let list = "/vnflcm/v2/vnf_instances";
    for name in ["first", "second"] {
        let op = gybe.patch(&path, &json!({ "vnfInstanceName": name })).await;
        op.expect(StatusCode::ACCEPTED);
        for _ in 0..2 {
            assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["vnfInstanceName"], name);
            assert_eq!(gybe.get(list).await.expect(StatusCode::OK)[0]["vnfInstanceName"], name);
        }
        gybe.settled(&op.location.unwrap()).await;
    }
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(gybe.get(list).await.expect(StatusCode::OK), json!([]));
    gybe.get(&path).await.expect(StatusCode::NOT_FOUND);
}
