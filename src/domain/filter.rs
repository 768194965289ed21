//! The grammar of attribute filters (SOL013 clause 5.2). `crate::store::attributes` checks the attributes of the conditions
//! against the resource and prepares them for the database; `crate::api::selectors` uses [`path`] for selectors.
//!
//! ```text
//! filter    = condition *(";" condition)                     all conditions must hold
//! condition = "(" operator "," attribute 1*("," value) ")"   in, nin, cont and ncont take several values
//! attribute = name *("/" name)                               "~0", "~1", "~a", "~b" stand for "~", "/", ",", "@"
//! name      = text / "@key"                                  the keys of a map
//! value     = text / "'" text "'"                            inside quotes "'" is written twice
//! ```

/// Maximum length of a filter in bytes.
pub const MAX_LENGTH: usize = 8192;
/// Maximum number of conditions.
pub const MAX_CONDITIONS: usize = 16;
/// Maximum number of values in all conditions together. The identifiers of a page fit.
pub const MAX_VALUES: usize = 256;
/// Maximum number of names in the path to an attribute.
pub const MAX_DEPTH: usize = 12;

/// The operator of a condition. None of them holds for an attribute that is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal to the value.
    Eq,
    /// Not equal to the value.
    Neq,
    /// Equal to one of the values.
    In,
    /// Equal to none of the values.
    Nin,
    /// Greater than the value.
    Gt,
    /// Greater than or equal to the value.
    Gte,
    /// Less than the value.
    Lt,
    /// Less than or equal to the value.
    Lte,
    /// A text that contains one of the values.
    Cont,
    /// A text that contains none of the values.
    Ncont,
}

impl Operator {
    const ALL: [Self; 10] =
        [Self::Eq, Self::Neq, Self::In, Self::Nin, Self::Gt, Self::Gte, Self::Lt, Self::Lte, Self::Cont, Self::Ncont];

    /// The operator as filters spell it.
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

    const fn takes_several(self) -> bool {
        matches!(self, Self::In | Self::Nin | Self::Cont | Self::Ncont)
    }
}

/// One segment of the path to an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// The member of this name.
    Member(String),
    /// `@key`: the keys of a map.
    Key,
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub operator: Operator,
    /// The attribute as the filter spells it, for error messages.
    pub attribute: String,
    /// The path to the attribute; never empty.
    pub path: Vec<PathSegment>,
    /// Operands; never empty. One value unless the operator takes several.
    pub values: Vec<String>,
}

/// Why a text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at character {position})")]
pub struct FilterSyntaxError {
    reason: String,
    /// Counted from 1, in the decoded text.
    position: usize,
}

/// Parses a filter. The text is already decoded from the query.
///
/// # Errors
/// The text is not a filter or exceeds a bound.
pub fn parse(text: &str) -> Result<Vec<Condition>, FilterSyntaxError> {
    let mut parser = Parser { text, position: 0, values: 0 };
    if text.len() > MAX_LENGTH {
        return Err(parser.error(format!("a filter has at most {MAX_LENGTH} bytes")));
    }
    if let Some(at) = text.find('\0') {
        parser.position = at;
        return Err(parser.error("a filter must not contain the character U+0000"));
    }
    let mut conditions = Vec::new();
    loop {
        if conditions.len() == MAX_CONDITIONS {
            return Err(parser.error(format!("a filter has at most {MAX_CONDITIONS} conditions")));
        }
        conditions.push(parser.condition()?);
        if parser.rest().is_empty() {
            return Ok(conditions);
        }
        parser.expect(';', "';' and another condition, or the end")?;
    }
}

/// Parses the path to an attribute, as filters and selectors write it. `None`: a name is empty or has an unknown escape, or
/// there are more than [`MAX_DEPTH`] names.
pub fn path(attribute: &str) -> Option<Vec<PathSegment>> {
    let path: Vec<PathSegment> = attribute.split('/').take(MAX_DEPTH + 1).map(name).collect::<Option<_>>()?;
    (path.len() <= MAX_DEPTH).then_some(path)
}

fn name(text: &str) -> Option<PathSegment> {
    if text == "@key" {
        return Some(PathSegment::Key);
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
    (!name.is_empty()).then_some(PathSegment::Member(name))
}

struct Parser<'a> {
    text: &'a str,
    /// Index of the next byte; always the start of a character.
    position: usize,
    /// Number of values parsed so far.
    values: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn error(&self, reason: impl Into<String>) -> FilterSyntaxError {
        self.error_at(self.position, reason)
    }

    fn error_at(&self, position: usize, reason: impl Into<String>) -> FilterSyntaxError {
        FilterSyntaxError { reason: reason.into(), position: self.text[..position].chars().count() + 1 }
    }

    fn expect(&mut self, letter: char, what: &str) -> Result<(), FilterSyntaxError> {
        if !self.rest().starts_with(letter) {
            return Err(self.error(format!("expected {what}")));
        }
        self.position += letter.len_utf8();
        Ok(())
    }

    /// Consumes and returns the text before the first of `ends`.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let text = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.position += text.len();
        text
    }

    fn condition(&mut self) -> Result<Condition, FilterSyntaxError> {
        self.expect('(', "'('")?;
        let operator = self.operator()?;
        self.expect(',', "',' and an attribute")?;
        let begin = self.position;
        let attribute = self.until(&[',', '(', ')']);
        let path = path(attribute).ok_or_else(|| {
            let rule = format!("write 1 to {MAX_DEPTH} names, separated by '/'");
            self.error_at(begin, format!("'{attribute}' is not an attribute: {rule}"))
        })?;
        let mut values = Vec::new();
        while values.is_empty() || !self.rest().starts_with(')') {
            if !values.is_empty() && !operator.takes_several() {
                return Err(self.error(format!("expected ')': {} takes one value", operator.as_str())));
            }
            self.expect(',', "',' and a value")?;
            values.push(self.value()?);
        }
        self.expect(')', "')'")?;
        Ok(Condition { operator, attribute: attribute.to_owned(), path, values })
    }

    fn operator(&mut self) -> Result<Operator, FilterSyntaxError> {
        let begin = self.position;
        let name = self.until(&[',', '(', ')', ';']);
        let operator = Operator::ALL.into_iter().find(|operator| operator.as_str() == name);
        operator.ok_or_else(|| {
            let all = Operator::ALL.map(Operator::as_str).join(", ");
            self.error_at(begin, format!("unknown operator '{name}'; supported: {all}"))
        })
    }

    fn value(&mut self) -> Result<String, FilterSyntaxError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error(format!("a filter has at most {MAX_VALUES} values")));
        }
        if self.rest().starts_with('\'') {
            return self.quoted();
        }
        let value = self.until(&[',', '(', ')', '\'']);
        if self.rest().starts_with(['(', '\'']) {
            return Err(self.error("write a value that contains one of , ( ) ' in quotes, and each ' inside it twice"));
        }
        Ok(value.to_owned())
    }

    fn quoted(&mut self) -> Result<String, FilterSyntaxError> {
        let begin = self.position;
        let mut value = String::new();
        self.position += 1;
        loop {
            value.push_str(self.until(&['\'']));
            if self.rest().is_empty() {
                return Err(self.error_at(begin, "the quote that begins here is not closed"));
            }
            self.position += 1;
            if !self.rest().starts_with('\'') {
                return Ok(value);
            }
            value.push('\'');
            self.position += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(names: &[&str]) -> Vec<PathSegment> {
        names.iter().map(|name| PathSegment::Member((*name).to_owned())).collect()
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
    fn parses_operator_attribute_and_value() {
        let expected = Condition {
            operator: Operator::Eq,
            attribute: "instantiatedVnfInfo/vnfState".to_owned(),
            path: members(&["instantiatedVnfInfo", "vnfState"]),
            values: vec!["STARTED".to_owned()],
        };
        assert_eq!(only("(eq,instantiatedVnfInfo/vnfState,STARTED)"), expected);
    }

    #[test]
    fn parses_all_ten_operators_in_lower_case_only() {
        for operator in Operator::ALL {
            assert_eq!(only(&format!("({},id,1)", operator.as_str())).operator, operator);
        }
        assert_eq!(
            error("(EQ,id,1)"),
            "unknown operator 'EQ'; supported: eq, neq, in, nin, gt, gte, lt, lte, cont, ncont (at character 2)"
        );
    }

    #[test]
    fn accepts_several_values_for_four_operators_only() {
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
    fn parses_conditions_separated_by_semicolons() {
        let conditions = parse("(eq,a,1);(neq,b,2);(in,c,3,4)").unwrap();
        let attributes: Vec<_> = conditions.iter().map(|condition| condition.attribute.as_str()).collect();
        assert_eq!(attributes, ["a", "b", "c"]);
    }

    #[test]
    fn parses_quoted_values() {
        assert_eq!(only("(eq,a,'x,y);(z')").values, ["x,y);(z"]);
        assert_eq!(only("(eq,a,'it''s')").values, ["it's"]);
        assert_eq!(only("(eq,a,'''')").values, ["'"]);
        assert_eq!(only("(in,a,'b',c,'')").values, ["b", "c", ""]);
        assert_eq!(only("(eq,a,)").values, [""]);
    }

    #[test]
    fn parses_escapes_in_names() {
        assert_eq!(only("(eq,metadata/a~1b~0~ac~bd,1)").path, members(&["metadata", "a/b~,c@d"]));
        assert_eq!(only("(eq,vimConnectionInfo/@key,1)").path[1], PathSegment::Key);
        assert_eq!(only("(eq,metadata/~bkey,1)").path, members(&["metadata", "@key"]));
        for attribute in ["", "/a", "a//b", "a/", "a~", "a~2"] {
            assert!(error(&format!("(eq,{attribute},1)")).contains("is not an attribute"), "{attribute}");
        }
    }

    #[test]
    fn reports_the_position_of_a_syntax_error() {
        for (text, at, what) in [
            ("", 1, "expected '('"),
            ("eq,a,1", 1, "expected '('"),
            ("(eq)", 4, "expected ',' and an attribute"),
            ("(eq,a)", 6, "expected ',' and a value"),
            ("(eq,a,1", 8, "')'"),
            ("(eq,a,1)(eq,b,2)", 9, "';' and another condition"),
            ("(eq,a,1);", 10, "expected '('"),
            ("(eq,ä,x'y)", 8, "in quotes"),
            ("(eq,a,(b)", 7, "in quotes"),
            ("(eq,a,'b)", 7, "is not closed"),
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
    fn enforces_every_bound() {
        let condition = "(eq,a,1);";
        let many = condition.repeat(MAX_CONDITIONS);
        assert_eq!(parse(many.trim_end_matches(';')).unwrap().len(), MAX_CONDITIONS);
        assert!(error(&format!("{many}(eq,a,1)")).contains("conditions"));
        let deep = ["a"; MAX_DEPTH].join("/");
        assert_eq!(only(&format!("(eq,{deep},1)")).path.len(), MAX_DEPTH);
        assert!(error(&format!("(eq,{deep}/a,1)")).contains("1 to 12 names"));
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
        fn never_panics(text in ".{0,200}", pieces in prop::collection::vec(
            prop::sample::select(vec!["(", ")", ",", ";", "'", "eq", "in", "a", "/", "~", "~1", "@key", "é", " "]), 0..40)
        ) {
            let _ = parse(&text);
            let _ = parse(&pieces.concat());
        }

        #[test]
        fn round_trips_quoted_and_escaped_text(
            names in prop::collection::vec("[^()\0]{1,8}", 1..5),
            values in prop::collection::vec("[^\0]{0,20}", 1..5),
        ) {
            let attribute = names.iter().map(|name| escape(name)).collect::<Vec<_>>().join("/");
            let quoted = values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(",");
            let condition = only(&format!("(in,{attribute},{quoted})"));
            let names: Vec<_> = names.into_iter().map(PathSegment::Member).collect();
            prop_assert_eq!(condition.path, names);
            prop_assert_eq!(condition.values, values);
        }
    }
}
