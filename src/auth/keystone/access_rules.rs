//! Access rules of application credentials: the requests that a token may send at all, whatever its roles allow.
//! <https://docs.openstack.org/keystone/latest/user/application_credentials.html#access-rules>

use serde::Deserialize;

/// The service types of a VNF manager: that of the catalogue, and its project's name.
const SERVICES: [&str; 2] = ["nfv-orchestration", "tacker"];
/// The most rules that a token may carry.
const MOST: usize = 100;
/// The longest path that is compared, in bytes.
const LONGEST_PATH: usize = 1024;

/// Of the rules, those that are to be kept: the ones about this service. None, so that nothing is allowed, if there are too many.
pub fn kept(rules: Vec<AccessRule>) -> Vec<AccessRule> {
    if rules.len() > MOST {
        return Vec::new();
    }
    let is_kept = |rule: &AccessRule| SERVICES.contains(&rule.service.as_str()) && rule.path.len() <= LONGEST_PATH;
    rules.into_iter().filter(is_kept).collect()
}

/// A rule.
#[derive(Clone, Debug, Deserialize)]
pub struct AccessRule {
    service: String,
    method: String,
    path: String,
}

/// Whether one of the rules allows the request. With more rules than a token may carry, none does.
pub fn allow(rules: &[AccessRule], method: &str, path: &str) -> bool {
    if rules.len() > MOST || path.len() > LONGEST_PATH {
        return false;
    }
    rules.iter().any(|rule| {
        SERVICES.contains(&rule.service.as_str()) && rule.method == method && matches(&rule.path, path.as_bytes())
    })
}

/// A part of the path of a rule.
enum Piece {
    Literal(u8),
    /// `*` or `{name}`: at least one character of a segment.
    Segment,
    /// `**`: anything, segments included.
    Rest,
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern.as_bytes();
    while let [first, after @ ..] = rest {
        let name = after.iter().position(|byte| *byte == b'}').filter(|_| *first == b'{');
        let (piece, length) = match name {
            Some(end) => (Piece::Segment, end + 2),
            None if rest.starts_with(b"**") => (Piece::Rest, 2),
            None if *first == b'*' => (Piece::Segment, 1),
            None => (Piece::Literal(*first), 1),
        };
        pieces.push(piece);
        rest = &rest[length..];
    }
    pieces
}

/// Follows all ways to match at once, so that no pattern takes more than its length times that of the path.
fn matches(pattern: &str, path: &[u8]) -> bool {
    // `reached[n]`: the pieces so far can match the first n bytes.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for piece in pieces(pattern) {
        let mut next = vec![false; path.len() + 1];
        match piece {
            Piece::Literal(byte) => {
                for (index, own) in path.iter().enumerate() {
                    next[index + 1] = reached[index] && *own == byte;
                }
            }
            Piece::Segment => {
                for (index, own) in path.iter().enumerate() {
                    next[index + 1] = (reached[index] || next[index]) && *own != b'/';
                }
            }
            Piece::Rest => {
                let first = reached.iter().position(|reached| *reached).unwrap_or(next.len());
                next[first..].fill(true);
            }
        }
        if !next.contains(&true) {
            return false;
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(service: &str, method: &str, path: &str) -> AccessRule {
        AccessRule { service: service.to_owned(), method: method.to_owned(), path: path.to_owned() }
    }

    #[test]
    fn a_rule_allows_its_service_method_and_path() {
        for (service, method, expected) in [
            ("nfv-orchestration", "GET", true),
            ("tacker", "GET", true),
            ("compute", "GET", false),
            ("tacker", "POST", false),
            ("tacker", "get", false),
        ] {
            let rules = [rule("compute", "GET", "**"), rule(service, method, "/vnflcm/v1/vnf_instances")];
            assert_eq!(allow(&rules, "GET", "/vnflcm/v1/vnf_instances"), expected, "{service} {method}");
        }
        assert!(!allow(&[], "GET", "/"));
    }

    #[test]
    fn stars_and_names_stand_for_segments() {
        for (pattern, path, expected) in [
            ("/vnflcm/v1/vnf_instances/*", "/vnflcm/v1/vnf_instances/1", true),
            ("/vnflcm/v1/vnf_instances/{id}", "/vnflcm/v1/vnf_instances/1", true),
            ("/vnflcm/v1/vnf_instances/*", "/vnflcm/v1/vnf_instances/", false),
            ("/vnflcm/v1/vnf_instances/*", "/vnflcm/v1/vnf_instances/1/scale", false),
            ("/vnflcm/v1/vnf_instances/*/scale", "/vnflcm/v1/vnf_instances/1/scale", true),
            ("/vnflcm/**", "/vnflcm/v1/vnf_instances/1/scale", true),
            ("**", "/", true),
            ("/v1.0/vims", "/v1.0/vims", true),
            ("/v1.0/vims", "/v1x0/vims", false),
            ("/v1.0/vims", "/v1.0/vims/1", false),
            ("/v1.0/{", "/v1.0/{", true),
            ("/v1.0/é", "/v1.0/é", true),
            ("", "/", false),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn neither_many_rules_nor_hard_patterns_take_long() {
        let hard = rule("tacker", "GET", &"**a".repeat(80));
        let path = "a".repeat(LONGEST_PATH - 1) + "b";
        assert!(!allow(&vec![hard.clone(); MOST], "GET", &path));
        assert!(!allow(&vec![rule("tacker", "GET", "**"); MOST + 1], "GET", "/"));
        assert!(!allow(&[rule("tacker", "GET", "**")], "GET", &"a".repeat(LONGEST_PATH + 1)));
    }
}
