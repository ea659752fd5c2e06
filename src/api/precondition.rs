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
    // Twenty digits at most, and two quotes; written from the end.
    let mut text = [b'"'; 22];
    let mut begin = text.len() - 1;
    let mut rest = version;
    loop {
        begin -= 1;
        // Below ten, so that it fits.
        text[begin] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // Digits in quotes are visible ASCII.
    HeaderValue::from_bytes(&text[begin - 1..]).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
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

/// The versions that a reader has already.
#[derive(Debug, PartialEq, Eq)]
pub struct Unless(Option<Tags>);

impl Unless {
    /// Whether the current version is among them, so that 304 is the answer.
    pub fn has(&self, current: Revision) -> bool {
        match &self.0 {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::Versions(versions)) => versions.contains(&current),
        }
    }
}

/// What a read of one object says about the versions it knows. Read before the object is looked up,
/// so that what is not valid is refused whether or not there is one.
///
/// # Errors
/// `invalid_precondition`, also for `If-Match`: a read has nothing to protect.
pub fn for_read(headers: &HeaderMap) -> Result<Unless, Problem> {
    if headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(
            Code::InvalidPrecondition,
            "a read does not take `If-Match`: compare the ETag of its answer, or send `If-None-Match`",
        ));
    }
    tags(headers, &header::IF_NONE_MATCH, true).map(Unless)
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
    fn etags_are_versions_in_quotes() {
        for version in [0, 7, 10, 1234, u64::MAX] {
            assert_eq!(etag(version), format!("\"{version}\""));
        }
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
        let current = |value: &str| {
            for_read(&headers(&[(header::IF_NONE_MATCH, value)]))
                .unwrap()
                .has(7)
        };
        assert!(current("\"7\"") && current("*") && current("\"1\", W/\"7\""));
        assert!(!current("\"8\"") && !current("\"x\""));
        assert!(!for_read(&HeaderMap::new()).unwrap().has(7));
        for bad in [(header::IF_NONE_MATCH, "7"), (header::IF_MATCH, "\"7\"")] {
            assert_eq!(
                for_read(&headers(&[bad])).unwrap_err().code(),
                Code::InvalidPrecondition
            );
        }
    }
}
