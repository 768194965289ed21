//! `LccnSubscription` (SOL003 clause 5.5.2.16) over `subscriptions`.

use super::{Kind, Members, Type, attribute, text};

/// Of 2.6.1.
pub static V1: Members = Members::of(&[
    text("id", "subscriptions.id"),
    attribute("filter", Kind::Open(FILTER)),
    text("callbackUri", "subscriptions.callback_uri"),
]);

/// Of 3.3.1.
pub static V2: Members = Members::of(&[
    text("id", "subscriptions.id"),
    attribute("filter", Kind::Open(FILTER)),
    text("callbackUri", "subscriptions.callback_uri"),
    attribute("verbosity", Kind::Simple(Type::Enumeration(&["FULL", "SHORT"]), "subscriptions.verbosity")),
]);

const FILTER: &str = "subscriptions.filter";
