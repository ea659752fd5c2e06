//! `If-Match`, `If-None-Match` and ETags (RFC 9110, section 13).
//!
//! An ETag is a version in quotes: `"1234"`. A well-formed tag that is no version of ours (a weak
//! one, a foreign one) is not an error: it matches nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::problem::{Code, Problem};
use crate::{command::Condition, model::Revision};

/// The most tags in one header.
const MAX_TAGS: usize = 64;

/// The ETag of a version.
pub fn etag(version: Revision) -> HeaderValue {
    let text = format!("\"{version}\"");
    // Digits in quotes are visible ASCII.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Versions(Vec<Revision>),
}

fn refused(name: &HeaderName, why: &str) -> Problem {
    Problem::new(
        Code::InvalidPrecondition,
        format!(
            "`{name}` {why}: write `*`, or ETags as a read gave them, such as `\"1234\"`, joined by commas"
        ),
    )
}

/// All tags of a header, over all its lines. `weak` says whether weak tags count.
fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Result<Option<Tags>, Problem> {
    let mut versions = None;
    let mut any = false;
    let mut seen = 0;
    for line in headers.get_all(name) {
        let mut rest = line
            .to_str()
            .map_err(|_| refused(name, "is not visible ASCII"))?
            .trim();
        let list = versions.get_or_insert_with(Vec::new);
        if rest == "*" {
            any = true;
            continue;
        }
        loop {
            let is_weak = rest.starts_with("W/");
            let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"');
            let (tag, after) = quoted
                .and_then(|q| q.split_once('"'))
                .ok_or_else(|| refused(name, "is not a list of ETags"))?;
            seen += 1;
            if seen > MAX_TAGS {
                return Err(refused(name, "has too many ETags"));
            }
            if weak || !is_weak {
                list.extend(version(tag));
            }
            rest = after.trim_start();
            if rest.is_empty() {
                break;
            }
            rest = rest
                .strip_prefix(',')
                .ok_or_else(|| refused(name, "is not a list of ETags"))?
                .trim_start();
        }
    }
    if any && seen > 0 {
        return Err(refused(name, "mixes `*` with ETags"));
    }
    Ok(if any {
        Some(Tags::Any)
    } else {
        versions.map(Tags::Versions)
    })
}

/// Exactly one text stands for a version.
fn version(tag: &str) -> Option<Revision> {
    let canonical = tag == "0" || !tag.starts_with(['0', '+']);
    tag.parse().ok().filter(|_| canonical)
}

/// What a write demands of the object before it.
///
/// # Errors
/// `invalid_precondition`.
pub fn for_write(headers: &HeaderMap) -> Result<Condition, Problem> {
    let matching = tags(headers, &header::IF_MATCH, false)?;
    let none = tags(headers, &header::IF_NONE_MATCH, true)?;
    match (matching, none) {
        (None, None) => Ok(Condition::Any),
        (Some(Tags::Any), None) => Ok(Condition::Exists),
        (Some(Tags::Versions(versions)), None) => Ok(Condition::Version(versions)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(Tags::Versions(_))) => Err(Problem::new(
            Code::InvalidPrecondition,
            "`If-None-Match` of a write can only be `*`: use `If-Match` to expect a version",
        )),
        (Some(_), Some(_)) => Err(Problem::new(
            Code::InvalidPrecondition,
            "`If-Match` and `If-None-Match` exclude each other: send one of them",
        )),
    }
}

/// What a write of an existing object (delete, start, stop) demands of it.
///
/// # Errors
/// `invalid_precondition`, also for `If-None-Match`.
pub fn for_change(headers: &HeaderMap) -> Result<Condition, Problem> {
    match for_write(headers)? {
        Condition::Absent => Err(Problem::new(
            Code::InvalidPrecondition,
            "`If-None-Match` makes no sense for an object that has to exist: leave it out",
        )),
        condition => Ok(condition),
    }
}

/// For calls that have no object to demand anything of: a precondition must not be passed over.
///
/// # Errors
/// `invalid_precondition` when there is one.
pub fn none(headers: &HeaderMap) -> Result<(), Problem> {
    match for_write(headers)? {
        Condition::Any => Ok(()),
        _ => Err(Problem::new(
            Code::InvalidPrecondition,
            "this call takes neither `If-Match` nor `If-None-Match`: leave them out",
        )),
    }
}

/// Whether a read's `If-None-Match` names the current version, so that 304 is the answer.
///
/// # Errors
/// `invalid_precondition`.
pub fn not_modified(headers: &HeaderMap, current: Revision) -> Result<bool, Problem> {
    Ok(match tags(headers, &header::IF_NONE_MATCH, true)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::Versions(versions)) => versions.contains(&current),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn conditions_of_writes() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        for (given, expected) in [
            (vec![], Condition::Any),
            (vec![(IF_MATCH, "*")], Condition::Exists),
            (vec![(IF_MATCH, "\"7\"")], Condition::Version(vec![7])),
            (vec![(IF_MATCH, "\"7\" ,  \"9\"")], Condition::Version(vec![7, 9])),
            (
                vec![(IF_MATCH, "\"7\""), (IF_MATCH, "\"9\"")],
                Condition::Version(vec![7, 9]),
            ),
            (vec![(IF_MATCH, "W/\"7\"")], Condition::Version(vec![])),
            (
                vec![(IF_MATCH, "\"a,b\", \"07\", \"+7\", \"7\"")],
                Condition::Version(vec![7]),
            ),
            (vec![(IF_NONE_MATCH, "*")], Condition::Absent),
        ] {
            assert_eq!(for_write(&headers(&given)).unwrap(), expected, "{given:?}");
        }
    }

    #[test]
    fn bad_preconditions_are_refused() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        let many = vec!["\"1\""; MAX_TAGS + 1].join(",");
        for given in [
            vec![(IF_MATCH, "7")],
            vec![(IF_MATCH, "")],
            vec![(IF_MATCH, "\"7")],
            vec![(IF_MATCH, "\"7\" \"8\"")],
            vec![(IF_MATCH, "\"7\",")],
            vec![(IF_MATCH, "*, \"7\"")],
            vec![(IF_MATCH, "*"), (IF_MATCH, "\"7\"")],
            vec![(IF_MATCH, "\u{e9}")],
            vec![(IF_MATCH, many.as_str())],
            vec![(IF_NONE_MATCH, "\"7\"")],
            vec![(IF_MATCH, "*"), (IF_NONE_MATCH, "*")],
        ] {
            let error = for_write(&headers(&given)).unwrap_err();
            assert_eq!(error.code(), Code::InvalidPrecondition, "{given:?}");
        }
        assert!(for_change(&headers(&[(IF_NONE_MATCH, "*")])).is_err());
    }

    #[test]
    fn reads_are_not_modified_when_a_tag_matches() {
        let current = |value: &str| not_modified(&headers(&[(header::IF_NONE_MATCH, value)]), 7).unwrap();
        assert!(current("\"7\"") && current("*") && current("\"1\", W/\"7\""));
        assert!(!current("\"8\"") && !current("\"x\""));
        assert!(!not_modified(&HeaderMap::new(), 7).unwrap());
    }
}
