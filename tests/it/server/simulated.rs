//! `gybe serve --simulate`: a VNF lives its whole life without a cluster, and what is scripted goes wrong, with its reason.

use gybe::domain::vim::SIMULATED;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample;

async fn vnfcs(gybe: &Gybe, path: &str, vdu: &str) -> Vec<String> {
    let instance = gybe.get(path).await.expect(StatusCode::OK);
    let found = instance["instantiatedVnfInfo"]["vnfcInfo"].as_array().cloned().unwrap_or_default();
    found.iter().filter(|it| it["vduId"] == vdu).map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

/// The number of objects of a preview by what becomes of them.
fn count(preview: &Value, action: &str) -> usize {
    preview["objects"].as_array().unwrap().iter().filter(|object| object["action"] == action).count()
}

#[tokio::test]
async fn a_vnf_lives_its_whole_life_in_a_simulated_vim() {
    let mut gybe = Gybe::start_with(&["--simulate"]);
    let vims = gybe.get("/v1.0/vims").await.expect(StatusCode::OK);
    let vim = &vims["vims"][0];
    assert_eq!([&vim["name"], &vim["type"]], [SIMULATED; 2]);
    assert_eq!((&vim["is_default"], &vim["auth_url"]), (&json!(true), &json!("https://simulated.invalid")));
    let registered = gybe
        .post(
            "/v1.0/vims",
            &json!({ "vim": { "type": SIMULATED, "name": "other", "auth_url": "https://a", "auth_cred": {} } }),
        )
        .await;
    assert!(registered.problem(422).contains("gybe serve --simulate"));

    let [first, second] = [gybe.onboard("core5g").await, gybe.onboard("core5g-2").await];
    let path = gybe.create("v2", &first).await;
    let preview = gybe.post(&format!("{path}/instantiate/preview"), &instantiate_request("core")).await;
    let preview = preview.expect(StatusCode::OK);
    assert_eq!(count(&preview, "create"), preview["objects"].as_array().unwrap().len(), "{preview:#}");
    assert!(preview["preflight"].as_array().unwrap().iter().all(|check| check["verdict"] != "failed"), "{preview:#}");
    gybe.complete(&path, "instantiate", &instantiate_request("core")).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["vimConnectionInfo"]["default"]["vimType"], SIMULATED, "{instance:#}");
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "amf" })).await;
    let before = vnfcs(&gybe, &path, "AMF").await;
    assert_eq!(before.len(), 2);
    gybe.complete(&path, "heal", &json!({ "vnfcInstanceId": [before[0]], "cause": "test" })).await;
    assert_eq!(vnfcs(&gybe, &path, "AMF").await.len(), 2);
    let drift = gybe.get(&format!("{path}/drift")).await.expect(StatusCode::OK);
    assert_eq!(drift["inSync"], true, "{drift:#}");

    let change = json!({ "vnfdId": second });
    let preview = gybe.post(&format!("{path}/change_vnfpkg/preview"), &change).await.expect(StatusCode::OK);
    let counts = ["create", "change", "delete"].map(|action| count(&preview, action));
    assert_eq!(counts, [2, 2, 1], "{preview:#}");
    assert!(preview.to_string().contains("/spec/template/spec/containers/0/image"), "{preview:#}");
    gybe.complete(&path, "change_vnfpkg", &json!({ "vnfdId": second, "gybe:planId": preview["planId"] })).await;

    // The cluster was in the memory of the process: it is made again from the inventory, and the operation goes on.
    let interrupted = gybe.begin(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "amf" })).await;
    gybe.kill();
    gybe.restart();
    assert_eq!(gybe.wait_ended(&interrupted).await["operationState"], "COMPLETED");
    let drift = gybe.get(&format!("{path}/drift")).await.expect(StatusCode::OK);
    assert_eq!(drift["inSync"], true, "{drift:#}");
    gybe.complete(&path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    assert_eq!(vnfcs(&gybe, &path, "AMF").await.len(), 0);
    gybe.complete(&path, "operate", &json!({ "changeStateTo": "STARTED" })).await;
    assert_eq!(vnfcs(&gybe, &path, "AMF").await.len(), 3);
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["instantiationState"], "NOT_INSTANTIATED");

    // Without the option, an operation there fails and names the option.
    gybe.kill();
    gybe.forget_argument("--simulate");
    gybe.restart();
    let op = gybe.begin(&path, "instantiate", &instantiate_request("core")).await;
    let ended = gybe.wait_ended(&op).await;
    assert!(ended["error"]["detail"].as_str().unwrap().contains("--simulate"), "{ended:#}");
}

/// A Deployment with this annotation and image.
fn deployment(name: &str, annotation: &str, image: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, annotations: {annotation}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: app, image: '{image}'}}]}}
---"
    )
}

#[tokio::test]
async fn what_is_scripted_goes_wrong_and_says_why() {
    let gybe = Gybe::start_with(&["--simulate", "--ready-grace", "600", "--ready-timeout", "8"]);
    let faults = [
        deployment("app", "{}", "pause:simulate-slow-3"),
        deployment("pull", "{gybe.dev/simulate: pull-failure}", "pause:1"),
        deployment("crash", "{}", "pause:simulate-crash"),
        deployment("quota", "{gybe.dev/simulate: quota}", "pause:1"),
        deployment("never", "{}", "registry.example/simulate-never-ready:1"),
    ];
    let refused = deployment("app", "{}", "pause:1")
        + "\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, annotations: {gybe.dev/simulate: denied}}}";
    let mut paths = Vec::new();
    for (version, manifests) in [("1.0", faults.concat()), ("2.0", refused)] {
        let package = gybe.upload(&sample::of_version(version, &[("Files/all.yaml", &manifests)])).await;
        paths.push(gybe.create("v2", package["vnfdId"].as_str().unwrap()).await);
    }

    let waiting = gybe.begin(&paths[0], "instantiate", &instantiate_request("faults")).await;
    let steps = format!("{waiting}/steps");
    let reason = |steps: &Value, name: &str| -> Option<String> {
        let objects = steps["steps"].as_array()?.last()?["objects"].as_array()?;
        Some(objects.iter().find(|object| object["name"] == name)?["reason"].as_str()?.to_owned())
    };
    let expected = [
        ("pull", "ImagePullBackOff"),
        ("crash", "CrashLoopBackOff"),
        ("quota", "exceeded quota"),
        ("never", "unready status"),
        ("app", "ContainersNotReady"),
    ];
    let shows =
        |steps: &Value| expected.iter().all(|(name, text)| reason(steps, name).is_some_and(|it| it.contains(text)));
    gybe.wait_until(&steps, shows).await;
    // The slow one becomes ready.
    gybe.wait_until(&steps, |steps| reason(steps, "never").is_some() && reason(steps, "app").is_none()).await;
    let ended = gybe.wait_ended(&waiting).await;
    let log = ended["error"]["evidence"]["logs"].to_string();
    assert!(log.contains("exit code 1, as it is scripted to"), "{ended:#}");

    let preview = gybe.post(&format!("{}/instantiate/preview", paths[1]), &instantiate_request("denied")).await;
    let preview = preview.expect(StatusCode::OK);
    let settings = preview["objects"].as_array().unwrap().iter().find(|object| object["name"] == "settings").unwrap();
    let denied = "User \"simulated\" cannot create resource \"configmaps\"";
    assert!(settings.to_string().contains(&denied.replace('"', "\\\"")), "{preview:#}");
    let refused = gybe.begin(&paths[1], "instantiate", &instantiate_request("denied")).await;
    let ended = gybe.wait_ended(&refused).await;
    assert!(ended["error"]["detail"].as_str().unwrap().contains(denied), "{ended:#}");
    for op in [waiting, refused] {
        gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
        assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    }
}
