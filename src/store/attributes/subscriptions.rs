//! `LccnSubscription` and `PkgmSubscription` (SOL003 clauses 5.5.2.16 and 10.5.2.8) over `subscriptions`.

use super::{Attribute, Kind, Members, Type, attribute, text};
use crate::domain::interface::{Edition, Interface};

/// Those of an API's subscriptions.
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
    attribute("verbosity", Kind::Simple(Type::Enumeration(&["FULL", "SHORT"]), "subscriptions.verbosity")),
]);

const ID: Attribute = text("id", "subscriptions.id");
const FILTER: Attribute = attribute("filter", Kind::Open("subscriptions.filter"));
const CALLBACK_URI: Attribute = text("callbackUri", "subscriptions.callback_uri");
