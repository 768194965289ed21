//! Attribute filters, compared with the answers of GET: for each attribute of each resource, on both engines, the database
//! finds the same elements as a filter over the answers in this file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gybe::domain::ids::ProjectId;
use gybe::domain::instance::{InstantiatedVnfInfo, VirtualStorage, VnfInstance, VnfMetadata, VnfState, Vnfc};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::{CancelMode, LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::{ArtifactClassification, ArtifactInfo, SoftwareImage, VnfPackage};
use gybe::domain::problem::Problem;
use gybe::domain::resource_changes::ResourceChanges;
use gybe::domain::secret::Secret;
use gybe::domain::transition::OpEvent;
use gybe::domain::vim::VimConnection;
use gybe::sol003::op_occ::VnfLcmOpOcc as OpOccWire;
use gybe::sol003::pkgm::VnfPkgInfo;
use gybe::sol003::{Edition, v1, v2};
use gybe::store::attributes::{Members, op_occs, packages, parse_filter, vnf_instances};
use gybe::store::{OperationOutcome, Page};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::store::{outcome, record, whole};
use crate::support::store_fixture::{LONG, StoreFixture, content};

on_both_engines! {
    FilterFixture::of(StoreFixture::sqlite().await), FilterFixture::of(StoreFixture::postgres().await);
    finds_each_shown_attribute_by_its_value
    compares_each_shown_attribute_by_its_type
    finds_keys_of_maps
    applies_conditions_on_one_array_to_one_entry
    requires_all_conditions
    matches_no_absent_attribute
    never_runs_text_of_a_caller_as_sql
    does_not_find_secrets
    pages_of_a_filtered_list_contain_each_element_once
}

// --- rows in the database -------------------------------------------------------------------------------------------

/// A store with instances, op occurrences and packages that differ in every attribute.
pub struct FilterFixture {
    pub fixture: StoreFixture,
    lists: Vec<List>,
}

/// The attributes of a resource, and all elements of its list as a GET shows them, in order.
struct List {
    name: &'static str,
    members: &'static Members,
    elements: Vec<Value>,
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn vnfc(number: usize) -> Vnfc {
    Vnfc {
        vdu_id: format!("VDU{number}"),
        kept_id: None,
        pod_name: format!("app-{number}"),
        pod_uid: format!("uid{number}"),
        workload_kind: if number == 1 { "Deployment" } else { "StatefulSet" }.to_owned(),
        workload_name: format!("app{number}"),
    }
}

fn instantiated(levels: u32, vnfcs: Vec<Vnfc>) -> InstantiatedVnfInfo {
    InstantiatedVnfInfo {
        flavour_id: format!("flavour{levels}"),
        vnf_state: if levels == 1 { VnfState::Started } else { VnfState::Stopped },
        scale_levels: BTreeMap::from([("a".to_owned(), levels), ("b".to_owned(), 10)]),
        max_scale_levels: BTreeMap::from([("a".to_owned(), levels + 2)]),
        definition_files: vec!["Files/app.yaml".to_owned(), format!("Files/{levels}.yaml")],
        vdu_mapping: BTreeMap::new(),
        vnfcs,
        storages: vec![VirtualStorage { claim_name: format!("data-{levels}"), claim_uid: "u".to_owned() }],
    }
}

fn connection(name: &str, home: bool) -> VimConnection {
    VimConnection {
        vim_id: Some(format!("vim of {name}")),
        vim_name: None,
        vim_type: "ETSINFV.KUBERNETES.V_1".to_owned(),
        interface_info: object(json!({ "endpoint": format!("https://{name}:6443"), "insecure": home })),
        access_info: object(json!({ "client_cert": format!("certificate of {name}") })),
        secrets: BTreeMap::from([("bearer_token".to_owned(), Secret::new("s3cret"))]),
        extra: object(json!({ "rack": { "row": 7 } })),
        home,
        lender: None,
        added_by: None,
    }
}

async fn instances(f: &StoreFixture) -> Vec<VnfInstance> {
    let mut made = Vec::new();
    for number in 0..4 {
        let plain = f.instance_of(f.onboarded().await);
        let mut instance = VnfInstance {
            name: Some(format!("it's \"{number}\", (ü)")),
            provider: format!("Company {}", number % 2),
            extensions: object(
                json!({ "n": number, "deep": { "list": [1, "x", { "y": number }], "flag": number == 1 } }),
            ),
            ..plain
        };
        if number > 0 {
            instance.description = Some(format!("description {number}"));
            instance.metadata.user =
                object(json!({ "tags": ["red", format!("tag{number}")], "a\"b'c/d~,@": "odd", "null": null }));
            instance.configurable_properties =
                object(json!({ "isAutoscaleEnabled": number == 2, "big": 9_007_199_254_740_993_i64 }));
            let vims = [("east", number == 2), ("west", number == 1)];
            instance.vim_connections = vims.map(|(name, home)| (name.to_owned(), connection(name, home))).into();
        }
        if matches!(number, 1 | 2) {
            let namespace = Some(Namespace::try_from(format!("edge{number}")).unwrap());
            instance.metadata = VnfMetadata { namespace, ..instance.metadata };
            let vnfcs = (0..number).map(|more| vnfc(number + more)).collect();
            instance.instantiated = Some(instantiated(u32::try_from(number).unwrap(), vnfcs));
        }
        f.store.create_instance(&instance).await.unwrap();
        made.push(instance);
    }
    made
}

/// One operation per instance: one just begun, one failed, one completed, one with a cancel request; and a second completed
/// one of the third instance.
async fn operations(f: &StoreFixture, instances: &[VnfInstance]) {
    let operations = [
        LcmOperation::Instantiate,
        LcmOperation::Scale,
        LcmOperation::ModifyInfo,
        LcmOperation::ChangeVnfpkg,
        LcmOperation::ChangeVnfpkg,
    ];
    for (number, instance) in instances.iter().chain([&instances[2]]).enumerate() {
        let plain = f.op(instance);
        let op = VnfLcmOpOcc {
            operation: operations[number],
            state: if number == 0 { OpState::Starting } else { OpState::Processing },
            start_time: plain.start_time + Duration::from_millis(1500 * number as u64),
            is_automatic_invocation: number == 1,
            params: json!({
                "flavourId": format!("f{number}"), "additionalParams": { "namespace": format!("n{number}"), "size": number },
                "vimConnectionInfo": { "east": { "vimType": "kubernetes", "vimId": format!("v{number}") } },
            }),
            cancel: (number == 3).then_some(CancelMode::Forceful),
            changed_info: match number {
                2 => Some(json!({ "vnfInstanceName": "new", "vimConnectionInfo": { "west": { "vimId": "w" } } })),
                3 => Some(json!({ "vnfdId": "other", "extensions": { "site": "north" } })),
                4 => Some(json!({ "vnfdId": "another", "extensions": { "sites": ["south", 5, true] } })),
                _ => None,
            },
            ..plain
        };
        let present = f.store.instance(&instance.project_id, instance.id).await.unwrap();
        f.store.begin_operation(&op, &present).await.unwrap();
        if matches!(number, 1 | 2 | 4) {
            // A claim returns it: the others have not begun or are leased.
            let claimed = loop {
                let claimed = f.claim(Duration::from_secs(600)).await;
                if claimed.op.id == op.id {
                    break claimed;
                }
            };
            let failed = number == 1;
            let to = if failed { OpState::FailedTemp } else { OpState::Completed };
            let error = failed.then(|| Problem::conflict("quota").with("evidence", json!({ "logs": ["one", "two"] })));
            let (before, after) = ([vnfc(number)], [vnfc(number + 1), vnfc(5)]);
            let claim = |name: &str| VirtualStorage { claim_name: name.to_owned(), claim_uid: name.to_owned() };
            let (claims_before, claims_after) = ([claim("kept"), claim("old")], [claim("kept"), claim("new")]);
            let changes = ResourceChanges::between("east", (&before, &claims_before), (&after, &claims_after));
            let ending = OperationOutcome {
                resource_changes: Some(changes),
                ..outcome(&record(OpState::Processing), to, error, op.start_time + Duration::from_millis(20))
            };
            f.store.end_operation(claimed.lease, &ending).await.unwrap();
            if failed {
                f.store.resume_operation(&op.project_id, op.id, OpEvent::Fail, op.start_time).await.unwrap();
            }
        }
    }
}

async fn more_packages(f: &StoreFixture) {
    let fresh = VnfPackage { user_defined_data: object(json!({ "owner": "Zoë", "n": 1.5 })), ..f.package() };
    f.store.create_package(&fresh).await.unwrap();
    let refused = f.package();
    f.store.create_package(&refused).await.unwrap();
    let lease = f.uploading(refused.id).await.unwrap();
    f.store.fail_onboarding(&lease, &Problem::unprocessable("no CSAR")).await.unwrap();
    let whole = f.package();
    f.store.create_package(&whole).await.unwrap();
    let lease = f.uploading(whole.id).await.unwrap();
    f.store.finish_upload(&lease, LONG).await.unwrap();
    let mut content = content("whole");
    content.artifacts.push(ArtifactInfo {
        path: "Files/app.yaml".to_owned(),
        algorithm: "SHA-512".to_owned(),
        hash: "cd".to_owned(),
        content_type: Some("text/x-yaml".to_owned()),
        non_mano_artifact_set: Some("onap".to_owned()),
        classification: Some(ArtifactClassification::Testing),
        image: None,
    });
    let image = SoftwareImage {
        id: "VDU1".to_owned(),
        name: "image".to_owned(),
        provider: "Company".to_owned(),
        version: "7".to_owned(),
        container_format: "BARE".to_owned(),
        disk_format: "QCOW2".to_owned(),
        min_disk: 2_000_000_000,
        min_ram: 5,
        size: 100,
    };
    let app = content.artifacts[0].clone();
    content.artifacts.push(ArtifactInfo { path: "Files/image.qcow2".to_owned(), image: Some(image), ..app });
    f.store.finish_onboarding(&lease, &content, &[]).await.unwrap();
}

impl FilterFixture {
    pub async fn of(fixture: StoreFixture) -> Self {
        let made = instances(&fixture).await;
        operations(&fixture, &made).await;
        more_packages(&fixture).await;
        let (store, project) = (&fixture.store, ProjectId::default());
        let mut instances = Vec::new();
        for listed in store.list_instances(Some(&project), &whole()).await.unwrap() {
            instances.push(store.instance(&project, listed.id).await.unwrap());
        }
        let ops = store.op_occs(Some(&project), &whole()).await.unwrap();
        let all = store.packages(Some(&project), &whole()).await.unwrap();
        let json = |one: Result<Value, serde_json::Error>| one.unwrap();
        let list = |name, members, elements| List { name, members, elements };
        let op =
            |edition| ops.iter().map(|op| json(serde_json::to_value(OpOccWire::new(op, None, edition, "")))).collect();
        let first = instances.iter().map(|one| json(serde_json::to_value(v1::VnfInstance::new(one, "")))).collect();
        let second = instances.iter().map(|one| json(serde_json::to_value(v2::VnfInstance::new(one, "")))).collect();
        let shown = |edition| {
            all.iter().map(|one| json(serde_json::to_value(VnfPkgInfo::new(one, edition, "")))).collect::<Vec<_>>()
        };
        let lists = vec![
            list("vnf_instances", &vnf_instances::V1, first),
            list("vnf_instances", &vnf_instances::V2, second),
            list("vnf_lcm_op_occs", &op_occs::V1, op(Edition::V1)),
            list("vnf_lcm_op_occs", &op_occs::V2, op(Edition::V2)),
            list("vnf_packages", &packages::V1, shown(Edition::V1)),
            list("vnf_packages", &packages::V2, shown(Edition::V2)),
        ];
        Self { fixture, lists }
    }

    /// The identifiers that the database finds.
    async fn found(&self, list: &List, text: &str) -> Vec<String> {
        let filter = parse_filter(text, list.members).unwrap_or_else(|problem| panic!("{text}: {}", problem.detail));
        self.page(list, &Page { filter: &filter, ..whole() }).await.unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    async fn page(&self, list: &List, page: &Page<'_>) -> Result<Vec<String>, gybe::store::StoreError> {
        let (store, project) = (&self.fixture.store, ProjectId::default());
        Ok(match list.name {
            "vnf_instances" => {
                store.list_instances(Some(&project), page).await?.iter().map(|one| one.id.to_string()).collect()
            }
            "vnf_lcm_op_occs" => {
                store.op_occs(Some(&project), page).await?.iter().map(|one| one.id.to_string()).collect()
            }
            _ => store.packages(Some(&project), page).await?.iter().map(|one| one.id.to_string()).collect(),
        })
    }

    fn list(&self, members: &'static Members) -> &List {
        self.lists.iter().find(|list| std::ptr::eq(list.members, members)).unwrap()
    }
}

// --- the same filters over the answers of GET ------------------------------------------------------------------------

impl List {
    /// The identifiers of elements with a value at `path` for which `holds` is true.
    fn expected(&self, path: &[String], holds: impl Fn(&Value) -> bool) -> Vec<String> {
        let with = self.elements.iter().filter(|element| values_at(element, path).into_iter().any(&holds));
        with.map(|element| element["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Each attribute that an element has, with its values. Links are not stored, so no filter finds them: `_links`, and `help`
    /// of a problem.
    fn attributes(&self) -> BTreeMap<Vec<String>, Vec<Value>> {
        let mut attributes = BTreeMap::new();
        for element in &self.elements {
            let shown = element.as_object().unwrap().iter().filter(|(name, _)| *name != "_links");
            shown.for_each(|(name, value)| leaves(value, &mut vec![name.clone()], &mut attributes));
        }
        for problem in ["error", "onboardingFailureDetails"] {
            attributes.remove(&[problem.to_owned(), "help".to_owned()][..]);
        }
        attributes
    }
}

fn leaves(value: &Value, path: &mut Vec<String>, into: &mut BTreeMap<Vec<String>, Vec<Value>>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                path.push(name.clone());
                leaves(member, path, into);
                path.pop();
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, path, into)),
        Value::Null => {}
        value => into.entry(path.clone()).or_default().push(value.clone()),
    }
}

/// The simple values at `path`; arrays are unwrapped.
fn values_at<'a>(value: &'a Value, path: &[String]) -> Vec<&'a Value> {
    match value {
        Value::Array(elements) => elements.iter().flat_map(|element| values_at(element, path)).collect(),
        Value::Object(members) => path.split_first().map_or_else(Vec::new, |(first, rest)| {
            members.get(first).map_or_else(Vec::new, |member| values_at(member, rest))
        }),
        Value::Null => Vec::new(),
        value if path.is_empty() => vec![value],
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn attribute(path: &[String]) -> String {
    let escape = |name: &String| name.replace('~', "~0").replace('/', "~1").replace(',', "~a").replace('@', "~b");
    path.iter().map(escape).collect::<Vec<_>>().join("/")
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn condition(operator: &str, path: &[String], value: &Value) -> String {
    format!("({operator},{},{})", attribute(path), quoted(&text(value)))
}

async fn finds_each_shown_attribute_by_its_value(filters: FilterFixture) {
    for list in &filters.lists {
        let attributes = list.attributes();
        assert!(attributes.len() > 15, "{}: {attributes:?}", list.name);
        for (path, values) in attributes {
            for value in &values {
                let (eq, neq) = (condition("eq", &path, value), condition("neq", &path, value));
                assert_eq!(filters.found(list, &eq).await, list.expected(&path, |other| other == value), "{eq}");
                assert_eq!(filters.found(list, &neq).await, list.expected(&path, |other| other != value), "{neq}");
            }
            let all: Vec<_> = values.iter().take(3).map(|value| quoted(&text(value))).collect();
            for (operator, wanted) in [("in", true), ("nin", false)] {
                let several = format!("({operator},{},{})", attribute(&path), all.join(","));
                let expected =
                    list.expected(&path, |other| values.iter().take(3).any(|value| value == other) == wanted);
                assert_eq!(filters.found(list, &several).await, expected, "{several}");
            }
        }
    }
}

async fn compares_each_shown_attribute_by_its_type(filters: FilterFixture) {
    for list in &filters.lists {
        for (path, values) in list.attributes() {
            for value in values.iter().take(4) {
                match value {
                    Value::Bool(_) => {}
                    Value::Number(number) => {
                        // An array may contain texts beside the number.
                        let (number, digits) = (number.as_f64().unwrap(), number.to_string());
                        let text = |other: &Value, holds: fn(&str, &str) -> bool| {
                            other.as_str().is_some_and(|other| holds(other, &digits))
                        };
                        let greater = |other: &Value| {
                            other.as_f64().is_some_and(|other| other > number) || text(other, |a, b| a > b)
                        };
                        let less = |other: &Value| {
                            other.as_f64().is_some_and(|other| other < number) || text(other, |a, b| a < b)
                        };
                        let gt = condition("gt", &path, value);
                        assert_eq!(filters.found(list, &gt).await, list.expected(&path, greater), "{gt}");
                        let lt = condition("lt", &path, value);
                        assert_eq!(filters.found(list, &lt).await, list.expected(&path, less), "{lt}");
                    }
                    _ => texts_are_compared(&filters, list, &path, value.as_str().unwrap()).await,
                }
            }
        }
    }
}

async fn texts_are_compared(filters: &FilterFixture, list: &List, path: &[String], value: &str) {
    let is =
        |holds: fn(&str, &str) -> bool| move |other: &Value| other.as_str().is_some_and(|other| holds(other, value));
    // Times are written in UTC with as many digits as needed, so the order of their texts is different.
    let is_time = matches!(path.last().unwrap().as_str(), "startTime" | "stateEnteredTime" | "createdAt");
    if !is_time {
        for (operator, holds) in [
            ("gt", (|a, b| a > b) as fn(&str, &str) -> bool),
            ("gte", |a, b| a >= b),
            ("lt", |a, b| a < b),
            ("lte", |a, b| a <= b),
        ] {
            let text = condition(operator, path, &value.into());
            assert_eq!(filters.found(list, &text).await, list.expected(path, is(holds)), "{text}");
        }
        let part: String = value.chars().skip(1).take(5).collect();
        for (operator, wanted) in [("cont", true), ("ncont", false)] {
            let text = condition(operator, path, &part.as_str().into());
            let holds = |other: &Value| other.as_str().is_some_and(|other| other.contains(&part) == wanted);
            assert_eq!(filters.found(list, &text).await, list.expected(path, holds), "{text}");
        }
    }
}

async fn finds_keys_of_maps(filters: FilterFixture) {
    let list = filters.list(&vnf_instances::V2);
    let with = having_in(list, "/vimConnectionInfo", "east");
    assert_eq!(with.len(), 3);
    assert_eq!(filters.found(list, "(eq,vimConnectionInfo/@key,east)").await, with);
    assert_eq!(filters.found(list, "(eq,metadata/@key,tags)").await, having_in(list, "/metadata", "tags"));
    assert_eq!(
        filters.found(list, "(cont,extensions/deep/@key,fla)").await,
        having_in(list, "/extensions/deep", "flag")
    );
    assert!(filters.found(list, "(eq,metadata/@key,nothing)").await.is_empty());
    let list = filters.list(&op_occs::V2);
    let changed = having_in(list, "/changedInfo", "vnfInstanceName");
    assert_eq!(changed.len(), 1);
    assert_eq!(filters.found(list, "(eq,changedInfo/@key,vnfInstanceName)").await, changed);
    assert_eq!(filters.found(list, "(cont,operationParams/additionalParams/@key,spac,x)").await.len(), 5);
    assert_eq!(filters.found(list, "(neq,operationParams/additionalParams/@key,namespace)").await.len(), 5);
    assert!(filters.found(list, "(eq,operationParams/@key,additional)").await.is_empty());
    assert!(filters.found(list, "(gt,changedInfo/@key,zz)").await.is_empty());
}

/// The identifiers of elements that have a member of that name.
fn having_in(list: &List, path: &str, key: &str) -> Vec<String> {
    let with = list.elements.iter().filter(|element| element.pointer(path).is_some_and(|map| map.get(key).is_some()));
    with.map(|element| element["id"].as_str().unwrap().to_owned()).collect()
}

async fn applies_conditions_on_one_array_to_one_entry(filters: FilterFixture) {
    let list = filters.list(&vnf_instances::V2);
    let levels = |aspect: &str, level: u32| {
        format!(
            "(eq,instantiatedVnfInfo/scaleStatus/aspectId,{aspect});(eq,instantiatedVnfInfo/scaleStatus/scaleLevel,{level})"
        )
    };
    assert_eq!(filters.found(list, &levels("a", 1)).await.len(), 1);
    assert_eq!(filters.found(list, &levels("b", 10)).await.len(), 2);
    assert!(filters.found(list, &levels("a", 10)).await.is_empty(), "b has that level, not a");
    let elsewhere =
        "(eq,instantiatedVnfInfo/scaleStatus/aspectId,b);(eq,instantiatedVnfInfo/vnfcResourceInfo/id,app-2)";
    assert_eq!(filters.found(list, elsewhere).await.len(), 1, "conditions on different arrays are independent");
    let home = "(eq,instantiatedVnfInfo/vnfcResourceInfo/computeResource/vimConnectionId,west)";
    assert_eq!(filters.found(list, home).await.len(), 1);
}

async fn requires_all_conditions(filters: FilterFixture) {
    let list = filters.list(&vnf_instances::V1);
    let east = filters.found(list, "(eq,instantiationState,INSTANTIATED)").await;
    assert_eq!(east.len(), 2);
    let both = format!("(eq,instantiationState,INSTANTIATED);(eq,id,{})", east[1]);
    assert_eq!(filters.found(list, &both).await, [east[1].clone()]);
    assert!(filters.found(list, "(eq,instantiationState,INSTANTIATED);(eq,vnfInstanceName,x)").await.is_empty());
    let ops = filters.list(&op_occs::V2);
    let time = ops.elements[1]["startTime"].as_str().unwrap();
    let since = format!("(gte,startTime,{time});(neq,operation,SCALE)");
    assert_eq!(filters.found(ops, &since).await.len(), 3);
    let later = filters.found(ops, &format!("(gt,startTime,{time})")).await;
    assert_eq!(later.len(), 3, "times are compared as points in time");
}

async fn matches_no_absent_attribute(filters: FilterFixture) {
    for (members, text) in [
        (&vnf_instances::V2, "(neq,metadata/nothing,x)"),
        (&vnf_instances::V2, "(ncont,metadata/nothing/at/all,x)"),
        (&vnf_instances::V2, "(nin,vimConnectionInfo/nowhere/vimType,x)"),
        (&vnf_instances::V2, "(neq,metadata/null,x)"),
        (&vnf_instances::V1, "(neq,instantiatedVnfInfo/extCpInfo/id,x)"),
        (&op_occs::V1, "(neq,grantId,x)"),
        (&packages::V1, "(neq,softwareImages/userMetadata/a,x)"),
        (&packages::V2, "(neq,packageSecurityOption,x)"),
        (&vnf_instances::V1, "(eq,metadata,x)"),
    ] {
        assert!(filters.found(filters.list(members), text).await.is_empty(), "{text}");
    }
}

async fn never_runs_text_of_a_caller_as_sql(filters: FilterFixture) {
    let hostile = [
        "x'; DROP TABLE vnf_instances; --",
        "$1",
        "?",
        "\"",
        "\\",
        "%",
        "_",
        "{}",
        "$.a",
        "' OR '1'='1",
        "[*]",
        "é\u{1F600}",
    ];
    for list in &filters.lists {
        let (simple, open) = match list.name {
            "vnf_instances" => ("vnfProductName", "metadata"),
            "vnf_lcm_op_occs" => ("vnfInstanceId", "operationParams"),
            _ => ("vnfdId", "userDefinedData"),
        };
        for word in hostile {
            for operator in ["eq", "cont", "gt"] {
                let value = quoted(word);
                let name = attribute(&[word.to_owned()]);
                filters.found(list, &format!("({operator},{simple},{value})")).await;
                filters
                    .found(
                        list,
                        &format!("({operator},{open}/{name}/{name},{value});({operator},{open}/{name}/@key,{value})"),
                    )
                    .await;
            }
            assert!(filters.found(list, &format!("(eq,{simple},{})", quoted(word))).await.is_empty(), "{word}");
        }
        assert_eq!(filters.found(list, "(neq,id,x)").await.len(), list.elements.len(), "all are still there");
    }
}

async fn does_not_find_secrets(filters: FilterFixture) {
    for (members, way) in [(&vnf_instances::V1, "vimConnectionInfo"), (&vnf_instances::V2, "vimConnectionInfo/east")] {
        let problem = parse_filter(&format!("(eq,{way}/accessInfo/bearer_token,s3cret)"), members).unwrap_err();
        assert!(problem.detail.contains("unknown attribute"), "{}", problem.detail);
        let shown = format!("(cont,{way}/accessInfo/client_cert,certificate)");
        assert_eq!(filters.found(filters.list(members), &shown).await.len(), 3);
        for internal in ["home", "added_by", "secrets"] {
            assert!(parse_filter(&format!("(neq,{way}/{internal},x)"), members).is_err(), "{internal} is not shown");
        }
    }
}

async fn pages_of_a_filtered_list_contain_each_element_once(filters: FilterFixture) {
    let list = filters.list(&op_occs::V2);
    let filter = parse_filter("(in,operation,INSTANTIATE,MODIFY_INFO,CHANGE_VNFPKG)", list.members).unwrap();
    let (store, project) = (&filters.fixture.store, ProjectId::default());
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.op_occs(Some(&project), &Page { filter: &filter, after, limit: 1 }).await.unwrap();
        let Some(op) = page.last() else { break };
        after = Some(gybe::store::PageCursor::of(op.start_time, op.id.0));
        seen.push(op.id.to_string());
    }
    assert_eq!(seen, filters.page(list, &Page { filter: &filter, ..whole() }).await.unwrap());
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 4);
}

proptest! {
    #[test]
    fn parser_never_panics(text in "\\((eq|in|gt|cont),(id|metadata|vimConnectionInfo|startTime|instantiatedVnfInfo)(/[a-zA-Z@~01]{0,6}){0,3},.{0,12}\\)") {
        for members in [&vnf_instances::V1, &vnf_instances::V2, &op_occs::V1, &op_occs::V2, &packages::V1, &packages::V2] {
            let _ = parse_filter(&text, members);
        }
    }
}
