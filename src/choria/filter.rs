//! Which nodes a request means: identity, agent, class and fact filters as the reference server evaluates them.
//!
//! Patterns come from the network: a pattern may grow only so large when compiled, and one message may carry only so
//! many. Compound filters are not evaluated here: a request that has one matches nobody.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::choria::facts;
use crate::choria::subject::{AgentName, Identity};

/// How large a compiled pattern may be, in bytes.
const LARGEST_PATTERN: usize = 256 * 1024;

/// How many patterns one request may carry; more match nobody. Real requests carry one or two.
const MOST_PATTERNS: usize = 64;

/// The filter of a request; empty lists do not filter.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Filter {
    /// All of these facts must compare so.
    pub fact: Vec<FactFilter>,
    /// The node must have all of these classes.
    pub cf_class: Vec<String>,
    /// The node must have all of these agents; the only list that may be missing.
    #[serde(default)]
    pub agent: Vec<String>,
    /// The node must be one of these.
    pub identity: Vec<String>,
    /// Expressions in a language of their own.
    pub compound: Vec<Vec<Value>>,
}

/// One comparison of a fact.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct FactFilter {
    /// Path of the fact, parts separated by dots.
    pub fact: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what; always a text.
    pub value: String,
}

/// How a fact is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Operator {
    /// Equal; texts without regard to case.
    #[serde(rename = "==")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    Unequal,
    /// Matches a regular expression.
    #[serde(rename = "=~")]
    Matches,
    /// Less than.
    #[serde(rename = "<")]
    Less,
    /// Less than or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Greater than; for numbers with a fraction it means "greater or equal", as in the reference server.
    #[serde(rename = ">")]
    Greater,
    /// Greater than or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

/// What a node is, as far as filters ask.
pub struct Subject<'a> {
    /// Its name.
    pub identity: &'a Identity,
    /// Its agents, `discovery` among them.
    pub agents: &'a [AgentName],
    /// Its classes, as they are written in its class file.
    pub classes: &'a [String],
    /// Reads its facts; called only if a request filters on facts.
    pub facts: &'a dyn Fn() -> Value,
}

impl Filter {
    /// Whether a node is meant.
    pub fn matches(&self, node: &Subject<'_>) -> bool {
        self.patterns() <= MOST_PATTERNS
            && self.compound.is_empty()
            && self.matches_identity(node.identity.as_str())
            && self.agent.iter().all(|wanted| {
                let agents = node.agents.iter().map(AgentName::as_str);
                matches_name(wanted, agents, Case::Sensitive)
            })
            && self.cf_class.iter().all(|wanted| {
                let classes = node.classes.iter().map(String::as_str);
                matches_name(&wanted.to_lowercase(), classes, Case::Insensitive)
            })
            && self.matches_facts(node.facts)
    }

    fn patterns(&self) -> usize {
        let named = [&self.identity, &self.agent, &self.cf_class].into_iter().flatten();
        named.filter(|text| pattern_in(text).is_some()).count()
            + self.fact.iter().filter(|fact| fact.operator == Operator::Matches).count()
    }

    fn matches_identity(&self, identity: &str) -> bool {
        self.identity.is_empty()
            || self
                .identity
                .iter()
                .any(|wanted| matches_name(wanted, std::iter::once(identity), Case::Sensitive))
    }

    fn matches_facts(&self, read: &dyn Fn() -> Value) -> bool {
        if self.fact.is_empty() {
            return true;
        }
        let document = read();
        self.fact.iter().all(|wanted| {
            facts::lookup(&document, &wanted.fact)
                .is_some_and(|found| compare(found, wanted.operator, &wanted.value).unwrap_or(false))
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Sensitive,
    Insensitive,
}

/// Exact equality, or a `/pattern/` that need only match a part.
fn matches_name<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, case: Case) -> bool {
    let mut names = names;
    match pattern_in(wanted) {
        Some(pattern) => {
            compile(pattern, case).is_some_and(|pattern| names.any(|name| pattern.is_match(name)))
        }
        None => names.any(|name| name == wanted),
    }
}

fn pattern_in(text: &str) -> Option<&str> {
    text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'))
}

fn compile(pattern: &str, case: Case) -> Option<Regex> {
    RegexBuilder::new(pattern)
        .case_insensitive(case == Case::Insensitive)
        .size_limit(LARGEST_PATTERN)
        .dfa_size_limit(LARGEST_PATTERN)
        .build()
        .ok()
}

/// Compares a fact with a text. `None`: the two cannot be compared, and the whole fact filter fails.
///
/// The two oddities (`>` on fractions, `!=` on false) are the reference server's; a mixed fleet must select alike.
fn compare(fact: &Value, operator: Operator, value: &str) -> Option<bool> {
    match fact {
        Value::String(text) => compare_text(text, operator, value),
        Value::Number(number) if value.contains('.') => compare_fraction(number.as_f64()?, operator, value),
        Value::Number(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "the integer part is what is compared")]
            let integer = number.as_i64().or_else(|| number.as_f64().map(|float| float.trunc() as i64))?;
            compare_integer(integer, operator, value)
        }
        Value::Bool(true) => match operator {
            Operator::Equal => Some(is_true(value)),
            Operator::Matches => Some(is_true(&value.to_lowercase())),
            Operator::Unequal => Some(!is_true(&value.to_lowercase())),
            _ => None,
        },
        Value::Bool(false) => match operator {
            Operator::Equal | Operator::Unequal | Operator::Matches => Some(!is_true(value)),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => match operator {
            Operator::Equal | Operator::Unequal | Operator::Matches => Some(false),
            _ => None,
        },
    }
}

fn compare_text(text: &str, operator: Operator, value: &str) -> Option<bool> {
    let (left, right) = (text.to_lowercase(), value.to_lowercase());
    Some(match operator {
        Operator::Equal => left == right,
        Operator::Unequal => left != right,
        Operator::Matches => matches_pattern(text, value)?,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
    })
}

fn compare_fraction(number: f64, operator: Operator, value: &str) -> Option<bool> {
    if operator == Operator::Matches {
        return matches_pattern(&format!("{number:.4}"), value);
    }
    let other: f64 = value.parse().ok()?;
    Some(match operator {
        // Exact equality is what the reference compares; both sides were written as decimal text.
        #[expect(clippy::float_cmp, reason = "the reference compares exactly")]
        Operator::Equal => number == other,
        #[expect(clippy::float_cmp, reason = "the reference compares exactly")]
        Operator::Unequal => number != other,
        Operator::Less => number < other,
        Operator::LessOrEqual => number <= other,
        Operator::Greater | Operator::GreaterOrEqual => number >= other,
        Operator::Matches => return None,
    })
}

fn compare_integer(number: i64, operator: Operator, value: &str) -> Option<bool> {
    let text = number.to_string();
    match operator {
        Operator::Equal => return Some(text == value),
        Operator::Unequal => return Some(text != value),
        Operator::Matches => return matches_pattern(&text, value),
        _ => (),
    }
    let other: i64 = value.parse().ok()?;
    match operator {
        Operator::Less => Some(number < other),
        Operator::LessOrEqual => Some(number <= other),
        Operator::Greater => Some(number > other),
        Operator::GreaterOrEqual => Some(number >= other),
        Operator::Equal | Operator::Unequal | Operator::Matches => None,
    }
}

fn matches_pattern(text: &str, pattern: &str) -> Option<bool> {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    Some(compile(pattern, Case::Insensitive)?.is_match(text))
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meant(filter: Value) -> bool {
        let mut whole = json!({"fact": [], "cf_class": [], "identity": [], "compound": []});
        for (name, value) in filter.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let filter: Filter = serde_json::from_value(whole).unwrap();
        filter.matches(&Subject {
            identity: &Identity::new("node1.example.net").unwrap(),
            agents: &["choria_provision", "discovery", "rpcutil"].map(AgentName::of),
            classes: &["role::web".to_owned(), "apache".to_owned()],
            facts: &|| {
                json!({
                    "os": {"family": "Debian"}, "cpus": 4, "load": 1.5, "virtual": true, "laptop": false,
                    "none": null, "disks": [{"name": "sda"}]
                })
            },
        })
    }

    #[test]
    fn an_empty_filter_means_everybody() {
        assert!(meant(json!({})));
    }

    #[test]
    fn names_are_compared_as_the_reference_server_does() {
        let rows = [
            (json!({"identity": ["other", "node1.example.net"]}), true),
            (json!({"identity": ["NODE1.example.net"]}), false),
            (json!({"identity": ["/^node[0-9]/"]}), true),
            (json!({"identity": ["/^NODE/"]}), false),
            (json!({"identity": ["/(/"]}), false),
            (json!({"agent": ["choria_provision"]}), true),
            (json!({"agent": ["choria_provision", "absent"]}), false),
            (json!({"agent": ["/^rpc/"]}), true),
            (json!({"cf_class": ["Role::Web"]}), true),
            (json!({"cf_class": ["role::web", "db"]}), false),
            (json!({"cf_class": ["/^APA/"]}), true),
            (json!({"compound": [[{"expr": "true"}]]}), false),
        ];
        for (filter, expected) in rows {
            assert_eq!(meant(filter.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn facts_are_compared_as_the_reference_server_does() {
        let rows = [
            ("os.family", "==", "debian", true),
            ("os.family", "!=", "debian", false),
            ("os.family", "=~", "/^deb/", true),
            ("os.family", "<", "e", true),
            ("os.family", "=~", "(", false),
            ("cpus", "==", "4", true),
            ("cpus", "==", "04", false),
            ("cpus", ">", "4", false),
            ("cpus", ">", "4.0", true),
            ("cpus", ">=", "many", false),
            ("cpus", "=~", "^4$", true),
            ("load", "==", "1.5", true),
            ("load", "==", "1", true),
            ("load", "=~", r"^1\.5000$", true),
            ("virtual", "==", "True", true),
            ("virtual", "!=", "1", false),
            ("virtual", "<", "1", false),
            ("laptop", "==", "no", true),
            ("laptop", "!=", "no", true),
            ("none", "==", "", false),
            ("os", "!=", "x", false),
            ("absent", "!=", "x", false),
            ("disks.0.name", "==", "sda", true),
        ];
        for (fact, operator, value, expected) in rows {
            let filter = json!({"fact": [{"fact": fact, "operator": operator, "value": value}]});
            assert_eq!(meant(filter), expected, "{fact} {operator} {value}");
        }
    }

    #[test]
    fn patterns_that_would_cost_too_much_match_nobody() {
        assert!(!meant(json!({"identity": ["/((a{1000}){1000}){1000}|node/"]})));
        assert!(!meant(json!({"identity": vec!["/node/"; MOST_PATTERNS + 1]})));
    }

    #[test]
    fn an_unknown_operator_is_not_a_filter() {
        let filter = json!({
            "fact": [{"fact": "a", "operator": "~", "value": "b"}], "cf_class": [], "identity": [], "compound": []
        });
        assert!(serde_json::from_value::<Filter>(filter).is_err());
    }
}
