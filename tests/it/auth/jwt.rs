//! Signed tokens of an issuer whose keys Gybe fetches.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{get, start};
use crate::support::issuer::{Issuer, SigningKey, unsigned};

const INSTANCES: &str = "/vnflcm/v1/vnf_instances";

#[tokio::test]
async fn a_token_counts_only_as_long_as_all_of_it_is_right() {
    let (key, other) = (SigningKey::new("1"), SigningKey::new("1"));
    let issuer = Issuer::start(&[&key]).await;
    let gybe = start(&issuer.table());
    let with = |name: &str, value: Value| {
        let mut claims = issuer.claims("alice", "reader");
        claims[name] = value;
        claims
    };
    let now = issuer.claims("", "")["iat"].as_i64().unwrap();
    let right = issuer.claims("alice", "reader");
    for claims in [right.clone(), with("exp", json!(now - 5)), with("nbf", json!(now + 20)), with("aud", json!("gybe"))]
    {
        get(&gybe, &key.sign(&claims), INSTANCES).await.expect(StatusCode::OK);
    }
    for (token, expected) in [
        (key.sign(&with("aud", json!("other"))), "another audience"),
        (key.sign(&with("aud", Value::Null)), "the token"),
        (key.sign(&with("exp", json!(now - 60))), "has expired"),
        (key.sign(&with("exp", Value::Null)), "the token"),
        (key.sign(&with("nbf", json!(now + 120))), "not valid yet"),
        (key.sign(&with("iss", json!("https://other.example"))), "no credential that this server knows"),
        (key.sign(&with("project_id", json!(7))), "no claim 'project_id'"),
        (key.sign(&with("cnf", json!({ "x5t#S256": "x" }))), "bound to a client certificate"),
        (other.sign(&right), "the signature of the token is wrong"),
        (unsigned(&right), "not signed with an algorithm"),
        (key.confuse(&right), "an algorithm that is not allowed here"),
    ] {
        let answer = get(&gybe, &token, INSTANCES).await;
        let detail = answer.problem(401);
        assert!(detail.contains(expected) && !detail.contains("alice"), "{detail}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"gybe\"");
    }
    // It is a reader of its project, no more.
    let create = gybe.client.post(gybe.uri(INSTANCES)).bearer_auth(key.sign(&right)).json(&json!({ "vnfdId": "x" }));
    let detail = gybe.send(create).await.problem(403);
    assert!(detail.contains("'alice' has the role reader in project 'edge'"), "{detail}");
    assert!(!gybe.log().contains(&key.sign(&right)), "no token is logged");
}

#[tokio::test]
async fn new_keys_are_fetched_when_needed_and_known_ones_outlive_the_issuer() {
    let [old, new, unknown] = ["old", "new", "unknown"].map(SigningKey::new);
    let issuer = Issuer::start(&[&old]).await;
    issuer.fail();
    let gybe = start(&issuer.table());
    let token = |key: &SigningKey, subject: &str| key.sign(&issuer.claims(subject, "member"));
    let detail = get(&gybe, &token(&old, "a"), INSTANCES).await.problem(503);
    assert!(detail.contains("the issuer of tokens does not answer"), "{detail}");
    issuer.publish(&[&old]);
    // The next fetch comes some seconds after the one that failed.
    while get(&gybe, &token(&old, "a"), INSTANCES).await.status != StatusCode::OK {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    issuer.publish(&[&old, &new]);
    get(&gybe, &token(&new, "b"), INSTANCES).await.expect(StatusCode::OK);
    assert_eq!(issuer.fetches(), 2);
    issuer.fail();
    for subject in ["c", "d"] {
        let detail = get(&gybe, &token(&unknown, subject), INSTANCES).await.problem(401);
        assert!(detail.contains("a key that its issuer does not publish"), "{detail}");
        get(&gybe, &token(&old, subject), INSTANCES).await.expect(StatusCode::OK);
        get(&gybe, &token(&new, subject), INSTANCES).await.expect(StatusCode::OK);
    }
    assert_eq!(issuer.fetches(), 2, "unknown keys do not make Gybe ask again and again");
}
