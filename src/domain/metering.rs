//! Metering: what a VNF instance has while it is instantiated, and records of it as half-open intervals of time. A conductor measures
//! when an operation ends, and `store` opens and closes the records in the same transaction. Records of a range of time are cut at it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::VnfInstance;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::resource::Resource;

/// What is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeteredResource {
    /// The VNF itself: 1.
    Vnf,
    /// Its VNFCs.
    Vnfc,
    /// The CPU that the manifests request for the VNFCs, in thousandths.
    VcpuMilli,
    /// The memory that they request, in MiB.
    MemoryMib,
}

impl MeteredResource {
    /// All, in the order of [`Quantities`].
    pub const ALL: [Self; 4] = [Self::Vnf, Self::Vnfc, Self::VcpuMilli, Self::MemoryMib];

    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vnf => "vnf",
            Self::Vnfc => "vnfc",
            Self::VcpuMilli => "vcpu_milli",
            Self::MemoryMib => "memory_mib",
        }
    }
}

/// What a VNF instance has of each of [`MeteredResource::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantities(pub [u64; MeteredResource::ALL.len()]);

/// The most of anything that is metered: the product with any duration fits into 64 bits.
const MOST: u64 = 1_000_000_000;

/// What the instance has, whose objects are `inventory`. Nothing unless it is INSTANTIATED. A VNFC counts with what the pod template of its
/// workload requests.
pub fn quantities(instance: &VnfInstance, inventory: &[Resource]) -> Quantities {
    let Some(info) = &instance.instantiated else { return Quantities::default() };
    let mut pods: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for vnfc in &info.vnfcs {
        *pods.entry((&vnfc.workload_kind, &vnfc.workload_name)).or_default() += 1;
    }
    let (mut cpu, mut memory) = (0_u64, 0_u64);
    for ((kind, name), number) in &pods {
        let workload = inventory.iter().find(|row| (row.key.kind.as_str(), row.key.name.as_str()) == (*kind, *name));
        let Some(workload) = workload else { continue };
        let requests = pod_requests(kind, &workload.manifest);
        cpu = cpu.saturating_add(number.saturating_mul(requests.cpu_milli));
        memory = memory.saturating_add(number.saturating_mul(requests.memory_bytes.div_ceil(1 << 20)));
    }
    Quantities([1, info.vnfcs.len() as u64, cpu, memory].map(|quantity| quantity.min(MOST)))
}

/// What one pod requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodRequests {
    /// CPU in thousandths.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// What a pod of the workload with this kind and manifest requests; nothing if the workload has no pods.
pub fn pod_requests(kind: &str, manifest: &Map<String, Value>) -> PodRequests {
    let Some(pod) = pod_spec(kind, manifest) else { return PodRequests::default() };
    PodRequests { cpu_milli: request(pod, "cpu", 1000), memory_bytes: request(pod, "memory", 1) }
}

fn pod_spec<'m>(kind: &str, manifest: &'m Map<String, Value>) -> Option<&'m Map<String, Value>> {
    let spec = manifest.get("spec")?;
    let path = match kind {
        "Pod" => return spec.as_object(),
        "CronJob" => "/jobTemplate/spec/template/spec",
        _ => "/template/spec",
    };
    spec.pointer(path)?.as_object()
}

/// What a pod requests of a resource, in parts of a unit, as Kubernetes' scheduler counts: its containers and the init containers that go
/// on running, or the largest of the other init containers, and its overhead.
fn request(pod: &Map<String, Value>, resource: &str, parts: u64) -> u64 {
    let of = |container: &Value| {
        let resources = container.get("resources");
        let stated = |list: &str| resources?.get(list)?.get(resource);
        // A limit without a request is the request.
        stated("requests").or_else(|| stated("limits")).and_then(|it| parse_quantity(it, parts)).unwrap_or(0)
    };
    let containers = |list: &str| pod.get(list).and_then(Value::as_array).into_iter().flatten();
    let goes_on = |container: &&Value| container.get("restartPolicy").is_some_and(|policy| policy == "Always");
    let sidecars = containers("initContainers").filter(goes_on);
    let together = containers("containers").chain(sidecars).map(of).fold(0, u64::saturating_add);
    let first = containers("initContainers").filter(|container| !goes_on(container)).map(of).max().unwrap_or(0);
    let overhead = pod.get("overhead").and_then(|overhead| overhead.get(resource));
    together.max(first).saturating_add(overhead.and_then(|it| parse_quantity(it, parts)).unwrap_or(0))
}

/// A quantity of Kubernetes in `parts` of a unit, rounded up; `None` for a text that is none, or a negative one.
fn parse_quantity(quantity: &Value, parts: u64) -> Option<u64> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 9] =
        [("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    let text = match quantity {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != '+');
    let (number, suffix) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let scale = if suffix.is_empty() {
        1.0
    } else if let Some(power) = BINARY.iter().position(|binary| *binary == suffix) {
        1024_f64.powi(i32::try_from(power).ok()? + 1)
    } else if let Some((_, power)) = DECIMAL.iter().find(|(decimal, _)| *decimal == suffix) {
        10_f64.powi(*power)
    } else {
        10_f64.powi(suffix.strip_prefix(['e', 'E'])?.parse().ok()?)
    };
    // A product that is a whole number but for the rounding of binary fractions is that number.
    let product = number * scale * parts as f64;
    let rounded = if (product - product.round()).abs() < 1e-6 { product.round() } else { product.ceil() };
    // A cast from a float saturates.
    Some(rounded as u64)
}

/// A record: a project had `quantity` of something from `from` to `to`, exclusively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeteringRecord {
    pub id: Uuid,
    pub project: ProjectId,
    /// The VIM: the id of its registration, or its address.
    pub vim: String,
    pub namespace: String,
    pub instance: VnfInstanceId,
    pub resource: MeteredResource,
    pub quantity: u64,
    pub from: OffsetDateTime,
    /// `None`: it still has it.
    pub to: Option<OffsetDateTime>,
}

/// A range of time, `from` inclusively, `to` exclusively.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
}

impl TimeRange {
    /// The range of a request. Without `to` it ends `now`; without `from` it begins 30 days before its end.
    ///
    /// # Errors
    /// 400: it ends before it begins.
    pub fn new(from: Option<OffsetDateTime>, to: Option<OffsetDateTime>, now: OffsetDateTime) -> Result<Self, Problem> {
        let to = to.unwrap_or(now);
        let from = from.unwrap_or_else(|| to.checked_sub(time::Duration::days(30)).unwrap_or(to));
        if from > to {
            return Err(problem!(
                ProblemType::BadRequest,
                "from ({from}) is after to ({to}): a range is from an earlier time, inclusively, to a later one, exclusively",
                from = from.to_string(),
                to = to.to_string(),
            ));
        }
        Ok(Self { from, to })
    }

    /// The part of the record in the range, where a record that is open lasts until `now`; `None` if there is none.
    pub fn cut(&self, record: &MeteringRecord, now: OffsetDateTime) -> Option<Self> {
        let from = record.from.max(self.from);
        let to = record.to.unwrap_or(now).min(self.to);
        (from < to).then_some(Self { from, to })
    }

    /// The quantity times the milliseconds of the range.
    pub fn product(&self, quantity: u64) -> u64 {
        let millis = (self.to - self.from).whole_milliseconds().try_into().unwrap_or(0_u64);
        quantity.saturating_mul(millis)
    }
}

/// The field of a CSV file (RFC 4180). A text that a spreadsheet would take for a formula begins with an apostrophe.
pub fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains([',', '"', '\r', '\n']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    format!("{guard}{text}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::{Duration, UtcOffset};

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (quantity, parts, expected) in [
            (json!("500m"), 1000, Some(500)),
            (json!(2), 1000, Some(2000)),
            (json!("0.1"), 1000, Some(100)),
            (json!("1.0005"), 1000, Some(1001)),
            (json!("128Mi"), 1, Some(128 << 20)),
            (json!("1G"), 1, Some(1_000_000_000)),
            (json!("1e3"), 1, Some(1000)),
            (json!("1500M"), 1, Some(1_500_000_000)),
            (json!("100u"), 1000, Some(1)),
            (json!("-1"), 1, None),
            (json!("1Xi"), 1, None),
            (json!(""), 1, None),
            (json!("9e99"), 1, Some(u64::MAX)),
            (json!({}), 1, None),
        ] {
            assert_eq!(parse_quantity(&quantity, parts), expected, "{quantity}");
        }
    }

    #[test]
    fn a_pod_requests_what_its_containers_request_together() {
        let resources = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu } } });
        let pod = json!({
            "containers": [resources("200m"), { "resources": { "limits": { "cpu": "300m" } } }, {}],
            "initContainers": [resources("400m"), { "restartPolicy": "Always", "resources": { "requests": { "cpu": "50m" } } }],
            "overhead": { "cpu": "10m" },
        });
        assert_eq!(request(pod.as_object().unwrap(), "cpu", 1000), 560);
        let pod = json!({ "containers": [resources("200m")], "initContainers": [resources("1")] });
        assert_eq!(request(pod.as_object().unwrap(), "cpu", 1000), 1000);
        assert_eq!(request(pod.as_object().unwrap(), "memory", 1), 0);
    }

    #[test]
    fn records_are_cut_at_the_range() {
        let at = |minute| OffsetDateTime::UNIX_EPOCH + Duration::minutes(minute);
        let record = |from, to: Option<i64>| MeteringRecord {
            id: Uuid::nil(),
            project: ProjectId::default(),
            vim: String::new(),
            namespace: String::new(),
            instance: VnfInstanceId(Uuid::nil()),
            resource: MeteredResource::Vnfc,
            quantity: 3,
            from: at(from),
            to: to.map(at),
        };
        let range = TimeRange::new(Some(at(10)), Some(at(20)), at(99)).unwrap();
        for (from, to, minutes) in [
            (0, Some(10), 0),
            (0, Some(11), 1),
            (10, Some(20), 10),
            (19, Some(30), 1),
            (20, Some(30), 0),
            (0, None, 10),
            (15, Some(15), 0),
        ] {
            let cut = range.cut(&record(from, to), at(99));
            let product = cut.map_or(0, |cut| cut.product(3));
            assert_eq!(product, minutes * 60_000 * 3, "{from} {to:?}");
        }
        // What is open ends now.
        assert_eq!(range.cut(&record(0, None), at(12)).unwrap().to, at(12));
        // The same instant in another time zone.
        let east = at(10).to_offset(UtcOffset::from_hms(5, 30, 0).unwrap());
        assert_eq!(TimeRange::new(Some(east), Some(at(20)), at(99)), Ok(range));
        assert_eq!(TimeRange::new(Some(at(2)), Some(at(1)), at(99)).unwrap_err().status, 400);
        let empty = TimeRange::new(Some(at(1)), Some(at(1)), at(99)).unwrap();
        assert_eq!(empty.cut(&record(0, None), at(99)), None);
        let first = time::PrimitiveDateTime::MIN.assume_utc();
        assert!(TimeRange::new(None, Some(first), at(0)).is_ok());
    }

    #[test]
    fn a_csv_field_is_no_formula_and_keeps_its_text() {
        for (text, field) in [
            ("team-a", "team-a"),
            ("=1+1", "'=1+1"),
            ("+a", "'+a"),
            ("-a", "'-a"),
            ("@a", "'@a"),
            ("a,b", "\"a,b\""),
            ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("", ""),
        ] {
            assert_eq!(csv_field(text), field);
        }
    }
}
