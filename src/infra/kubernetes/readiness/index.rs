//! Pods and events by the objects they belong to. Built once per assessment, so that each of many objects finds its own without
//! a search through all of them.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::{Selector, SelectorExt as _};

use super::super::fields::text;

/// Pods by uid and label, events by the object they are about.
pub(super) struct OwnerIndex<'a> {
    pods: Vec<&'a DynamicObject>,
    /// By the uid of each of their owners, and by their own.
    pods_by_uid: HashMap<&'a str, Vec<&'a DynamicObject>>,
    /// By the name and the value of each of their labels.
    pods_by_label: HashMap<&'a str, HashMap<&'a str, Vec<&'a DynamicObject>>>,
    /// By the uid of the object they are about.
    events: HashMap<&'a str, Vec<&'a DynamicObject>>,
}

impl<'a> OwnerIndex<'a> {
    pub fn new(pods: Vec<&'a DynamicObject>, events: impl Iterator<Item = &'a DynamicObject>) -> Self {
        let mut index =
            Self { pods, pods_by_uid: HashMap::new(), pods_by_label: HashMap::new(), events: HashMap::new() };
        for pod in &index.pods {
            let owners = pod.owner_references().iter().map(|owner| owner.uid.as_str());
            let uids: HashSet<&str> = owners.chain(pod.metadata.uid.as_deref()).collect();
            uids.into_iter().for_each(|uid| index.pods_by_uid.entry(uid).or_default().push(pod));
            for (name, value) in pod.labels() {
                index.pods_by_label.entry(name).or_default().entry(value).or_default().push(pod);
            }
        }
        for event in events {
            index.events.entry(text(event, "/involvedObject/uid")).or_default().push(event);
        }
        index
    }

    /// The pods of a workload of that kind; of a pod, the pod itself.
    pub fn pods_of(&self, kind: &str, object: &DynamicObject) -> Vec<&'a DynamicObject> {
        // ReplicaSets stand between a Deployment and its pods, and are not watched. By the API's contract, the selector of a
        // Deployment selects no pods but its own.
        match selector(object).filter(|_| kind == "Deployment") {
            Some(selector) => self.selected_pods(selector),
            None => {
                let own = object.metadata.uid.as_deref().and_then(|uid| self.pods_by_uid.get(uid));
                own.cloned().unwrap_or_default()
            }
        }
    }

    fn selected_pods(&self, selector: LabelSelector) -> Vec<&'a DynamicObject> {
        let with_label = |(name, value): (&String, &String)| {
            let pods = self.pods_by_label.get(name.as_str()).and_then(|values| values.get(value.as_str()));
            pods.map_or(&[][..], Vec::as_slice)
        };
        // The rarest label leaves the fewest pods to match.
        let labels = selector.match_labels.iter().flatten();
        let candidates = labels.map(with_label).min_by_key(|pods| pods.len()).unwrap_or(&self.pods);
        let Ok(selector) = Selector::try_from(selector) else { return Vec::new() };
        candidates.iter().copied().filter(|pod| selector.matches(pod.labels())).collect()
    }

    pub fn events_about(&self, object: &DynamicObject) -> &[&'a DynamicObject] {
        let events = object.metadata.uid.as_deref().and_then(|uid| self.events.get(uid));
        events.map_or(&[], Vec::as_slice)
    }
}

fn selector(object: &DynamicObject) -> Option<LabelSelector> {
    serde_json::from_value(object.data.pointer("/spec/selector")?.clone()).ok()
}
