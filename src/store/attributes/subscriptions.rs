//! Attributes that lists of subscriptions can be filtered by: `LccnSubscription` (SOL003 clause 5.5.2.16) and
//! `PkgmSubscription` (clause 10.5.2.4), in the columns of `subscriptions`.

use super::{Attribute, AttributeKind, AttributeType, Members, attribute, text};
use crate::domain::interface::{Edition, Interface};

/// Attributes of the subscriptions of an API.
pub fn of(interface: Interface, edition: Edition) -> &'static Members {
    match (interface, edition) {
        (Interface::Lifecycle, Edition::V2) => &WITH_VERBOSITY,
        (Interface::Lifecycle, Edition::V1) | (Interface::Packages, _) => &PLAIN,
    }
}

static PLAIN: Members = Members::of(&[ID, FILTER, CALLBACK_URI]);

static WITH_VERBOSITY: Members = Members::of(&[
    ID,
    FILTER,
    CALLBACK_URI,
    attribute(
        "verbosity",
        AttributeKind::Simple(AttributeType::Enumeration(&["FULL", "SHORT"]), "subscriptions.verbosity"),
    ),
]);

const ID: Attribute = text("id", "subscriptions.id");
const FILTER: Attribute = attribute("filter", AttributeKind::Open("subscriptions.filter"));
const CALLBACK_URI: Attribute = text("callbackUri", "subscriptions.callback_uri");
