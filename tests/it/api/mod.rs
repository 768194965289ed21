//! The API as callers see it: HTTP rules, documents, lists, and callers that send nonsense or too much.

mod bad_input;
mod bad_neighbours;
mod connections;
mod cross_site;
mod events;
mod garbage;
mod http_rules;
mod lists;
mod openapi;
mod schemas;
mod vims;
