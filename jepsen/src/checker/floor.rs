//! What must have been seen: the largest of something that had been acknowledged when an operation began.

use std::collections::HashMap;
use std::hash::Hash;

use crate::history::{Call, Kind};

/// Goes through operations in real time, and tells each what all that ended before it had reached.
///
/// `reach` is what an operation shows to have been reached, by place; `visit` gets each operation that may have
/// happened with the largest reach of those of its place that had ended when it began.
pub fn in_real_time<'a, K: Hash + Eq>(
    calls: &[Call<'a>],
    reach: impl Fn(&Call<'a>) -> Option<(K, u64)>,
    place: impl Fn(&Call<'a>) -> Option<K>,
    mut visit: impl FnMut(&Call<'a>, Option<(u64, Call<'a>)>),
) {
    // Ends and beginnings in the order of the history.
    let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
    for (number, call) in calls
        .iter()
        .enumerate()
        .filter(|(_, call)| call.kind() != Kind::Fail)
    {
        moments.push((call.begins(), true, number));
        moments.push((call.ends(), false, number));
    }
    moments.sort_unstable();
    let mut reached: HashMap<K, (u64, usize)> = HashMap::new();
    for (_, begins, number) in moments {
        let call = &calls[number];
        if begins {
            if let Some(place) = place(call) {
                let floor = reached.get(&place).map(|(most, by)| (*most, calls[*by]));
                visit(call, floor);
            }
        } else if let Some((place, most)) = reach(call) {
            let known = reached.entry(place).or_insert((most, number));
            if most > known.0 {
                *known = (most, number);
            }
        }
    }
}
