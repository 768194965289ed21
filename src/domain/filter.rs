//! The attribute filters of lists (SOL013 clause 5.2): the grammar. `crate::store::attributes` knows which attributes a
//! resource has, of what type they are, and gives the conditions to the database.
//!
//! ```text
//! filter    = condition *(";" condition)                     all must hold
//! condition = "(" operator "," attribute 1*("," value) ")"   one value, but for in, nin, cont and ncont
//! attribute = name *("/" name)                               "~0", "~1", "~a", "~b" are "~", "/", "," and "@"
//! name      = text / "@key"                                  the keys of a map
//! value     = text / "'" text "'"                            in quotes "'" is written twice
//! ```

/// The longest filter, in bytes.
pub const MAX_LENGTH: usize = 8192;
/// The most conditions of a filter.
pub const MAX_CONDITIONS: usize = 16;
/// The most values of all conditions together: identifiers of a whole page fit.
pub const MAX_VALUES: usize = 256;
/// The most names of an attribute.
pub const MAX_DEPTH: usize = 12;

/// What a condition asks of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal to the value.
    Eq,
    /// There, and not equal to the value.
    Neq,
    /// Equal to one of the values.
    In,
    /// There, and equal to none of the values.
    Nin,
    /// Greater than the value.
    Gt,
    /// Greater than the value or equal to it.
    Gte,
    /// Less than the value.
    Lt,
    /// Less than the value or equal to it.
    Lte,
    /// A text that contains one of the values.
    Cont,
    /// A text that contains none of the values.
    Ncont,
}

impl Operator {
    const ALL: [Self; 10] =
        [Self::Eq, Self::Neq, Self::In, Self::Nin, Self::Gt, Self::Gte, Self::Lt, Self::Lte, Self::Cont, Self::Ncont];

    /// The name in a filter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::In => "in",
            Self::Nin => "nin",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Cont => "cont",
            Self::Ncont => "ncont",
        }
    }

    /// Whether it takes more than one value.
    const fn takes_several(self) -> bool {
        matches!(self, Self::In | Self::Nin | Self::Cont | Self::Ncont)
    }
}

/// One step of the way to an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The member of this name.
    Member(String),
    /// `@key`: the names of the members, where those are the caller's.
    Key,
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is asked.
    pub operator: Operator,
    /// The attribute as the filter spells it, for errors.
    pub attribute: String,
    /// The way to the attribute; never empty.
    pub path: Vec<Name>,
    /// What it is compared with; never empty, and one unless the operator takes several.
    pub values: Vec<String>,
}

/// A filter that is none: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at character {at})")]
pub struct Malformed {
    what: String,
    /// Counted from 1, in the decoded text.
    at: usize,
}

/// Reads a filter, decoded from the query.
///
/// # Errors
/// It is none, or beyond a bound.
pub fn parse(text: &str) -> Result<Vec<Condition>, Malformed> {
    let mut reader = Reader { text, at: 0, values: 0 };
    if text.len() > MAX_LENGTH {
        return Err(reader.wrong(format!("a filter has at most {MAX_LENGTH} bytes")));
    }
    if let Some(at) = text.find('\0') {
        reader.at = at;
        return Err(reader.wrong("nothing contains the character U+0000"));
    }
    let mut conditions = Vec::new();
    loop {
        if conditions.len() == MAX_CONDITIONS {
            return Err(reader.wrong(format!("a filter has at most {MAX_CONDITIONS} conditions")));
        }
        conditions.push(reader.condition()?);
        if reader.rest().is_empty() {
            return Ok(conditions);
        }
        reader.expect(';', "';' and another condition, or the end")?;
    }
}

/// Reads the way to an attribute, as in a filter and in a selector; `None` if a name is empty or badly escaped, or there are
/// too many.
pub fn path(attribute: &str) -> Option<Vec<Name>> {
    let path: Vec<Name> = attribute.split('/').take(MAX_DEPTH + 1).map(name).collect::<Option<_>>()?;
    (path.len() <= MAX_DEPTH).then_some(path)
}

fn name(text: &str) -> Option<Name> {
    if text == "@key" {
        return Some(Name::Key);
    }
    let mut name = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        name.push(match letter {
            '~' => match letters.next()? {
                '0' => '~',
                '1' => '/',
                'a' => ',',
                'b' => '@',
                _ => return None,
            },
            other => other,
        });
    }
    (!name.is_empty()).then_some(Name::Member(name))
}

struct Reader<'a> {
    text: &'a str,
    /// The byte that is read next; always at the beginning of a character.
    at: usize,
    /// Values read so far.
    values: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, what: impl Into<String>) -> Malformed {
        Malformed { what: what.into(), at: self.text[..self.at].chars().count() + 1 }
    }

    fn expect(&mut self, letter: char, what: &str) -> Result<(), Malformed> {
        if !self.rest().starts_with(letter) {
            return Err(self.wrong(format!("{what} is expected")));
        }
        self.at += letter.len_utf8();
        Ok(())
    }

    /// What comes before the first of `ends`.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let text = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += text.len();
        text
    }

    fn condition(&mut self) -> Result<Condition, Malformed> {
        self.expect('(', "'('")?;
        let operator = self.operator()?;
        self.expect(',', "',' and an attribute")?;
        let begin = self.at;
        let attribute = self.until(&[',', '(', ')']);
        let path = path(attribute).ok_or_else(|| {
            let what = format!("'{attribute}' is no attribute: names with '/' between, at most {MAX_DEPTH}");
            Reader { at: begin, ..*self }.wrong(what)
        })?;
        let mut values = Vec::new();
        while values.is_empty() || !self.rest().starts_with(')') {
            if !values.is_empty() && !operator.takes_several() {
                return Err(self.wrong(format!("')' is expected: {} takes one value", operator.as_str())));
            }
            self.expect(',', "',' and a value")?;
            values.push(self.value()?);
        }
        self.expect(')', "')'")?;
        Ok(Condition { operator, attribute: attribute.to_owned(), path, values })
    }

    fn operator(&mut self) -> Result<Operator, Malformed> {
        let begin = self.at;
        let name = self.until(&[',', '(', ')', ';']);
        let operator = Operator::ALL.into_iter().find(|operator| operator.as_str() == name);
        operator.ok_or_else(|| {
            let all = Operator::ALL.map(Operator::as_str).join(", ");
            Reader { at: begin, ..*self }.wrong(format!("'{name}' is no operator: there are {all}"))
        })
    }

    fn value(&mut self) -> Result<String, Malformed> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.wrong(format!("a filter has at most {MAX_VALUES} values")));
        }
        if self.rest().starts_with('\'') {
            return self.quoted();
        }
        let value = self.until(&[',', '(', ')', '\'']);
        if self.rest().starts_with(['(', '\'']) {
            return Err(
                self.wrong("a value that contains one of , ( ) ' is written in quotes, with each ' of it twice")
            );
        }
        Ok(value.to_owned())
    }

    fn quoted(&mut self) -> Result<String, Malformed> {
        let begin = self.at;
        let mut value = String::new();
        self.at += 1;
        loop {
            value.push_str(self.until(&['\'']));
            if self.rest().is_empty() {
                return Err(Reader { at: begin, ..*self }.wrong("the quote that begins here has no end"));
            }
            self.at += 1;
            if !self.rest().starts_with('\'') {
                return Ok(value);
            }
            value.push('\'');
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::Member((*name).to_owned())).collect()
    }

    fn only(text: &str) -> Condition {
        let mut conditions = parse(text).unwrap();
        assert_eq!(conditions.len(), 1, "{conditions:?}");
        conditions.remove(0)
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_condition_is_an_operator_an_attribute_and_a_value() {
        let expected = Condition {
            operator: Operator::Eq,
            attribute: "instantiatedVnfInfo/vnfState".to_owned(),
            path: members(&["instantiatedVnfInfo", "vnfState"]),
            values: vec!["STARTED".to_owned()],
        };
        assert_eq!(only("(eq,instantiatedVnfInfo/vnfState,STARTED)"), expected);
    }

    #[test]
    fn all_ten_operators_are_there_and_case_matters() {
        for operator in Operator::ALL {
            assert_eq!(only(&format!("({},id,1)", operator.as_str())).operator, operator);
        }
        assert_eq!(
            error("(EQ,id,1)"),
            "'EQ' is no operator: there are eq, neq, in, nin, gt, gte, lt, lte, cont, ncont (at character 2)"
        );
    }

    #[test]
    fn four_operators_take_several_values_and_the_others_one() {
        for operator in Operator::ALL {
            let text = format!("({},id,a,b,c)", operator.as_str());
            if matches!(operator.as_str(), "in" | "nin" | "cont" | "ncont") {
                assert_eq!(only(&text).values, ["a", "b", "c"]);
            } else {
                assert!(error(&text).contains("takes one value"), "{text}");
            }
        }
    }

    #[test]
    fn conditions_are_joined_by_semicolons() {
        let conditions = parse("(eq,a,1);(neq,b,2);(in,c,3,4)").unwrap();
        let attributes: Vec<_> = conditions.iter().map(|condition| condition.attribute.as_str()).collect();
        assert_eq!(attributes, ["a", "b", "c"]);
    }

    #[test]
    fn quotes_keep_what_would_end_a_value() {
        assert_eq!(only("(eq,a,'x,y);(z')").values, ["x,y);(z"]);
        assert_eq!(only("(eq,a,'it''s')").values, ["it's"]);
        assert_eq!(only("(eq,a,'''')").values, ["'"]);
        assert_eq!(only("(in,a,'b',c,'')").values, ["b", "c", ""]);
        assert_eq!(only("(eq,a,)").values, [""]);
    }

    #[test]
    fn names_have_escapes_for_what_separates_them() {
        assert_eq!(only("(eq,metadata/a~1b~0~ac~bd,1)").path, members(&["metadata", "a/b~,c@d"]));
        assert_eq!(only("(eq,vimConnectionInfo/@key,1)").path[1], Name::Key);
        assert_eq!(only("(eq,metadata/~bkey,1)").path, members(&["metadata", "@key"]));
        for attribute in ["", "/a", "a//b", "a/", "a~", "a~2"] {
            assert!(error(&format!("(eq,{attribute},1)")).contains("is no attribute"), "{attribute}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_place() {
        for (text, at, what) in [
            ("", 1, "'(' is expected"),
            ("eq,a,1", 1, "'(' is expected"),
            ("(eq)", 4, "',' and an attribute is expected"),
            ("(eq,a)", 6, "',' and a value is expected"),
            ("(eq,a,1", 8, "')'"),
            ("(eq,a,1)(eq,b,2)", 9, "';' and another condition"),
            ("(eq,a,1);", 10, "'(' is expected"),
            ("(eq,ä,x'y)", 8, "in quotes"),
            ("(eq,a,(b)", 7, "in quotes"),
            ("(eq,a,'b)", 7, "has no end"),
            ("(eq,a,'b'c)", 10, "takes one value"),
            ("(in,a,'b'c)", 10, "',' and a value"),
            ("(eq,a,\0)", 7, "U+0000"),
        ] {
            let error = error(text);
            assert!(error.contains(what), "{text}: {error}");
            assert!(error.ends_with(&format!("(at character {at})")), "{text}: {error}");
        }
    }

    #[test]
    fn every_size_has_a_bound() {
        let condition = "(eq,a,1);";
        let many = condition.repeat(MAX_CONDITIONS);
        assert_eq!(parse(many.trim_end_matches(';')).unwrap().len(), MAX_CONDITIONS);
        assert!(error(&format!("{many}(eq,a,1)")).contains("conditions"));
        let deep = ["a"; MAX_DEPTH].join("/");
        assert_eq!(only(&format!("(eq,{deep},1)")).path.len(), MAX_DEPTH);
        assert!(error(&format!("(eq,{deep}/a,1)")).contains("at most 12"));
        assert!(parse(&format!("(in,a{})", ",1".repeat(MAX_VALUES))).is_ok());
        assert!(error(&format!("(in,a{})", ",1".repeat(MAX_VALUES + 1))).contains("values"));
        assert!(error(&format!("(eq,a,{})", "x".repeat(MAX_LENGTH))).contains("bytes"));
    }

    fn quote(value: &str) -> String {
        format!("'{}'", value.replace('\'', "''"))
    }

    fn escape(name: &str) -> String {
        name.replace('~', "~0").replace('/', "~1").replace(',', "~a").replace('@', "~b")
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", pieces in prop::collection::vec(
            prop::sample::select(vec!["(", ")", ",", ";", "'", "eq", "in", "a", "/", "~", "~1", "@key", "é", " "]), 0..40)
        ) {
            let _ = parse(&text);
            let _ = parse(&pieces.concat());
        }

        #[test]
        fn what_is_quoted_and_escaped_is_read_back(
            names in prop::collection::vec("[^()\0]{1,8}", 1..5),
            values in prop::collection::vec("[^\0]{0,20}", 1..5),
        ) {
            let attribute = names.iter().map(|name| escape(name)).collect::<Vec<_>>().join("/");
            let quoted = values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(",");
            let condition = only(&format!("(in,{attribute},{quoted})"));
            let names: Vec<_> = names.into_iter().map(Name::Member).collect();
            prop_assert_eq!(condition.path, names);
            prop_assert_eq!(condition.values, values);
        }
    }
}
