//! The SQL of a page of a list: the conditions of its [`Filter`](crate::store::attributes::Filter), its order and its limit.
//! The expressions for attributes are constants of `crate::store::attributes`; text of a caller is always bound.

use super::super::{elements, members, push_found, push_hint};
use super::{Database, QueryBuilder, Row};
use crate::domain::filter::{Operator, PathSegment};
use crate::domain::ids::ProjectId;
use crate::store::attributes::{
    EntryTerms, FilterTerm, FilterTerms, JsonRows, Operands, Sql, ValueTest, is_number, member_names,
};
use crate::store::sql::convert::count;
use crate::store::{Page, StoreError};

/// Appends to `SELECT … FROM table` the conditions, the order and the limit of a page. Rows are ordered by the time in
/// column `since`, then by id. They are those of `project`, or of all projects.
pub(super) fn push_page(query: &mut QueryBuilder, since: &str, project: Option<&ProjectId>, page: &Page<'_>) {
    match project {
        Some(project) => query.push(" WHERE project_id = ").push_bind(project.0.clone()),
        None => query.push(" WHERE true"),
    };
    if let Some(cursor) = page.after {
        query.push(format!(" AND ({since}, id) > (")).push_bind(cursor.at).push(", ");
        query.push_bind(cursor.id.to_string()).push(")");
    }
    push_terms(query, &page.filter.terms);
    query.push(format!(" ORDER BY {since}, id LIMIT ")).push_bind(count(page.limit));
}

/// Runs the query of a page. A page with a filter, or of all projects, may read all rows of the table: it uses the connections and
/// the deadline of [`FilterReader`](super::super::FilterReader). Each query text is used once, so it is not kept prepared.
pub(super) async fn fetch(
    db: &Database,
    query: &mut QueryBuilder,
    project: Option<&ProjectId>,
    page: &Page<'_>,
) -> Result<Vec<Row>, StoreError> {
    if page.filter.is_empty() && project.is_some() {
        return Ok(query.build().persistent(false).fetch_all(&db.reader()).await?);
    }
    db.filter_reader.fetch_all(query).await
}

/// Appends ` AND …` for each term.
fn push_terms(query: &mut QueryBuilder, terms: &FilterTerms) {
    for term in &terms.own {
        query.push(" AND ");
        match term {
            FilterTerm::Value(test, sql) => push_test(query, test, &sql.replace("MEMBERS_OF", members_of!())),
            FilterTerm::Open(test, json, path) => push_open(query, test, json, path),
            FilterTerm::Never => push_false(query),
        }
    }
    for EntryTerms { rows, key, terms } in &terms.entries {
        query.push(" AND ");
        let rows = match rows {
            JsonRows::Elements(json) => {
                push_entry_hints(query, json, terms);
                elements(json)
            }
            JsonRows::Members(json) => members(json),
        };
        query.push(format!("EXISTS (SELECT 1 FROM {rows} AS entry WHERE true"));
        if let Some(key) = key {
            query.push(" AND entry.key = ").push_bind(key.clone());
        }
        push_terms(query, terms);
        query.push(")");
    }
}

/// Appends a cheap condition that holds whenever an element of `json` meets the terms, so that most rows fail early.
fn push_entry_hints(query: &mut QueryBuilder, json: &str, terms: &FilterTerms) {
    for term in &terms.own {
        if let FilterTerm::Value(ValueTest { operator, operands: Operands::Texts(texts) }, sql) = term
            && let Some(path) = path_in_entry(sql)
        {
            push_hint(query, json, &path, *operator, texts);
        }
    }
}

/// The path inside an element, if `sql` is plain member access: `entry.value -> 'a' ->> 'b'`.
fn path_in_entry(sql: Sql) -> Option<Vec<PathSegment>> {
    let names = member_names(sql.strip_prefix("entry.value")?)?;
    let path = names.into_iter().map(|name| PathSegment::Member(name.to_owned())).collect::<Vec<_>>();
    (!path.is_empty()).then_some(path)
}

/// Tests the values at `path` in `json`. Arrays on the path or at its end are unwrapped; one value that meets the test is
/// enough.
fn push_open(query: &mut QueryBuilder, test: &ValueTest, json: &str, path: &[PathSegment]) {
    let Operands::Texts(texts) = &test.operands else { return push_false(query) };
    let operator = test.operator;
    push_hint(query, json, path, operator, texts);
    query.push("EXISTS (SELECT 1 FROM ");
    push_found(query, json, path);
    query.push(" WHERE ");
    push_typed(query, operator, texts);
    query.push(")");
}

/// Compares `found.value` as the JSON type that it has: a number with the operands that are numbers, a string or a boolean
/// with the texts.
fn push_typed(query: &mut QueryBuilder, operator: Operator, texts: &[String]) {
    query.push(concat!("CASE ", found_type!(), " WHEN 'string' THEN "));
    push_texts(query, operator, texts, found_text!());
    query.push(" WHEN 'number' THEN ");
    let numbers: Vec<String> = texts.iter().filter(|text| is_number(text)).cloned().collect();
    match operator {
        Operator::Cont | Operator::Ncont => push_false(query),
        // A number differs from every text that is not a number.
        Operator::Neq | Operator::Nin if numbers.is_empty() => {
            query.push("true");
        }
        _ if numbers.is_empty() => push_false(query),
        _ => push_numbers(query, operator, &numbers, found_number!()),
    }
    query.push(" WHEN 'boolean' THEN ");
    match operator {
        Operator::Eq | Operator::In | Operator::Neq | Operator::Nin => {
            push_texts(query, operator, texts, found_boolean!());
        }
        _ => push_false(query),
    }
    query.push(" ELSE false END");
}

fn push_false(query: &mut QueryBuilder) {
    query.push("false");
}

/// Tests a value that has the type of the operands. No test holds for NULL, which stands for an absent value.
fn push_test(query: &mut QueryBuilder, test: &ValueTest, value: &str) {
    let operator = test.operator;
    match &test.operands {
        Operands::Texts(texts) => push_texts(query, operator, texts, value),
        Operands::Numbers(numbers) => push_numbers(query, operator, numbers, value),
        Operands::Booleans(booleans) => push_comparison(query, operator, value, booleans, |query, boolean| {
            query.push_bind(*boolean);
        }),
        Operands::Times(times) => push_comparison(query, operator, value, times, |query, time| {
            query.push_bind(*time);
        }),
    }
}

fn push_numbers(query: &mut QueryBuilder, operator: Operator, numbers: &[String], value: &str) {
    push_comparison(query, operator, &format!("CAST({value} AS numeric)"), numbers, |query, number| {
        query.push("CAST(").push_bind(number.clone()).push(" AS numeric)");
    });
}

fn push_texts(query: &mut QueryBuilder, operator: Operator, texts: &[String], value: &str) {
    if !matches!(operator, Operator::Cont | Operator::Ncont) {
        // Both engines order texts by their bytes. Equality keeps the column's collation, so that its index can serve it.
        let equality = matches!(operator, Operator::Eq | Operator::In | Operator::Neq | Operator::Nin);
        let value = format!("({value}){}", if equality { "" } else { text_order!() });
        return push_comparison(query, operator, &value, texts, |query, text| {
            query.push_bind(text.clone());
        });
    }
    query.push(if operator == Operator::Cont { "(" } else { "NOT (" });
    for (index, text) in texts.iter().enumerate() {
        query.push(if index == 0 { "" } else { " OR " });
        query.push(format!("{}({value}, ", position!())).push_bind(text.clone()).push(") > 0");
    }
    query.push(")");
}

fn push_comparison<T>(
    query: &mut QueryBuilder,
    operator: Operator,
    value: &str,
    operands: &[T],
    push_operand: impl Fn(&mut QueryBuilder, &T),
) {
    let (comparison, end) = match operator {
        Operator::Eq | Operator::In => (" IN (", ")"),
        Operator::Neq | Operator::Nin => (" NOT IN (", ")"),
        Operator::Gt => (" > ", ""),
        Operator::Gte => (" >= ", ""),
        Operator::Lt => (" < ", ""),
        Operator::Lte => (" <= ", ""),
        // Only texts have these operators: see `push_texts`.
        Operator::Cont | Operator::Ncont => return push_false(query),
    };
    query.push(value).push(comparison);
    for (index, operand) in operands.iter().enumerate() {
        query.push(if index == 0 { "" } else { ", " });
        push_operand(query, operand);
    }
    query.push(end);
}
