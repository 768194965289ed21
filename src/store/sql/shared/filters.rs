//! Pages of filtered lists: the conditions of a [`Filter`](crate::store::attributes::Filter) as SQL, and the order that pages
//! have. The places are our own texts (`crate::store::attributes`); all that a caller wrote is bound.

use super::super::{elements, members, push_found, push_hint};
use super::{Database, QueryBuilder, Row};
use crate::domain::filter::{Name, Operator};
use crate::domain::ids::ProjectId;
use crate::store::attributes::{Entry, Rows, Sql, Term, Terms, Test, Values, is_number, names_from};
use crate::store::sql::convert::count;
use crate::store::{Page, StoreError};

/// Appends to `SELECT … FROM table` the conditions, the order and the limit of a page. Rows are ordered by the time in
/// column `since`, then by id.
pub(super) fn push_page(query: &mut QueryBuilder, since: &str, project: &ProjectId, page: &Page<'_>) {
    query.push(" WHERE project_id = ").push_bind(project.0.clone());
    if let Some(cursor) = page.after {
        query.push(format!(" AND ({since}, id) > (")).push_bind(cursor.at).push(", ");
        query.push_bind(cursor.id.to_string()).push(")");
    }
    push_terms(query, &page.filter.terms);
    query.push(format!(" ORDER BY {since}, id LIMIT ")).push_bind(count(page.limit));
}

/// Runs the query of a page. A page with a filter may read all rows of the table: it uses the connections and the deadline
/// of [`FilterReader`](super::super::FilterReader). Each query text is used once, so it is not kept prepared.
pub(super) async fn fetch(db: &Database, query: &mut QueryBuilder, page: &Page<'_>) -> Result<Vec<Row>, StoreError> {
    if page.filter.is_empty() {
        return Ok(query.build().persistent(false).fetch_all(&db.reader()).await?);
    }
    db.filter_reader.fetch_all(query).await
}

/// Adds the terms to conditions that are there.
fn push_terms(query: &mut QueryBuilder, terms: &Terms) {
    for term in &terms.own {
        query.push(" AND ");
        match term {
            Term::Value(test, place) => push_test(query, test, &in_sql(place)),
            Term::Open(test, json, path) => push_open(query, test, json, path),
            Term::Never => push_false(query),
        }
    }
    for Entry { rows, key, terms } in &terms.entries {
        query.push(" AND ");
        let rows = match rows {
            Rows::Elements(json) => {
                push_entry_hints(query, json, terms);
                elements(json)
            }
            Rows::Members(json) => members(json),
        };
        query.push(format!("EXISTS (SELECT 1 FROM {rows} AS entry WHERE true"));
        if let Some(key) = key {
            query.push(" AND entry.key = ").push_bind(key.clone());
        }
        push_terms(query, terms);
        query.push(")");
    }
}

/// What holds wherever an element of `json` passes the terms, and is found out sooner.
fn push_entry_hints(query: &mut QueryBuilder, json: &str, terms: &Terms) {
    for term in &terms.own {
        if let Term::Value(Test { operator, values: Values::Texts(texts) }, place) = term
            && let Some(path) = path_in_entry(place)
        {
            push_hint(query, json, &path, *operator, texts);
        }
    }
}

/// The names that lead from an element to what is at `place`, if it is there as it is: `entry.value -> 'a' ->> 'b'`.
fn path_in_entry(place: Sql) -> Option<Vec<Name>> {
    let names = names_from(place.strip_prefix("entry.value")?)?;
    let path = names.into_iter().map(|name| Name::Member(name.to_owned())).collect::<Vec<_>>();
    (!path.is_empty()).then_some(path)
}

fn in_sql(place: &str) -> String {
    place.replace("MEMBERS_OF", members_of!())
}

/// A test of what is at `path` in `json`, where each value is compared as what it is: one of several if there are arrays on
/// the way or at its end. Numbers are compared with what can be read as one, texts and booleans with the text of it.
fn push_open(query: &mut QueryBuilder, test: &Test, json: &str, path: &[Name]) {
    let Values::Texts(texts) = &test.values else { return push_false(query) };
    let operator = test.operator;
    push_hint(query, json, path, operator, texts);
    query.push("EXISTS (SELECT 1 FROM ");
    push_found(query, json, path);
    query.push(" WHERE ");
    push_typed(query, operator, texts);
    query.push(")");
}

/// Compares `found.value` with the texts as the JSON type that it has.
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

/// A test of a value that has the type of what it is compared with. NULL, where there is no value, passes none.
fn push_test(query: &mut QueryBuilder, test: &Test, value: &str) {
    let operator = test.operator;
    match &test.values {
        Values::Texts(texts) => push_texts(query, operator, texts, value),
        Values::Numbers(numbers) => push_numbers(query, operator, numbers, value),
        Values::Booleans(booleans) => push_comparison(query, operator, value, booleans, |query, boolean| {
            query.push_bind(*boolean);
        }),
        Values::Times(times) => push_comparison(query, operator, value, times, |query, time| {
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
        // Which is greater, both engines tell by the bytes; for equality an index would not serve another order than its own.
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
    with: &[T],
    push_one: impl Fn(&mut QueryBuilder, &T),
) {
    let (comparison, end) = match operator {
        Operator::Eq | Operator::In => (" IN (", ")"),
        Operator::Neq | Operator::Nin => (" NOT IN (", ")"),
        Operator::Gt => (" > ", ""),
        Operator::Gte => (" >= ", ""),
        Operator::Lt => (" < ", ""),
        Operator::Lte => (" <= ", ""),
        // Of texts alone: `push_texts`.
        Operator::Cont | Operator::Ncont => return push_false(query),
    };
    query.push(value).push(comparison);
    for (index, one) in with.iter().enumerate() {
        query.push(if index == 0 { "" } else { ", " });
        push_one(query, one);
    }
    query.push(end);
}
