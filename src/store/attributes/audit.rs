//! Attributes that the list of audit records can be filtered by, in the columns of `audit_records`.

use super::{Attribute, AttributeKind, AttributeType, Members, attribute, text};

/// The attributes of an audit record.
pub static MEMBERS: Members = Members::of(&[
    text("id", "audit_records.id"),
    TIME,
    text("projectId", "audit_records.project_id"),
    text("subject", "audit_records.subject"),
    text("role", "audit_records.role"),
    text("authMethod", "audit_records.auth_method"),
    text("peer", "audit_records.peer"),
    text("httpMethod", "audit_records.http_method"),
    text("route", "audit_records.route"),
    text("path", "audit_records.path"),
    text("location", "audit_records.location"),
    attribute("status", AttributeKind::Simple(AttributeType::Number, "audit_records.status")),
    text("requestId", "audit_records.request_id"),
    text("traceId", "audit_records.trace_id"),
]);

const TIME: Attribute = attribute("time", AttributeKind::Simple(AttributeType::Time, "audit_records.at"));
