use super::*;

const ONE: ContainerId = ContainerId(1);
const START: u64 = 1_700_000_000_000;

fn using(cpu_millis: u64, memory_bytes: u64) -> Sample {
    Sample {
        cpu_millis,
        memory_bytes,
        ..Sample::default()
    }
}

fn after(seconds: u64) -> Millis {
    Millis(START + seconds * 1000)
}

fn name(n: u64) -> Name {
    format!("c{n}").parse().unwrap()
}

#[test]
fn the_last_hour_is_kept_also_after_the_session() {
    let samples = Arc::new(Samples::default());
    samples.take_at(ONE, after(0), &using(1, 1));
    assert!(
        samples.history_at(ONE, Millis(0), after(0)).samples.is_empty(),
        "no session"
    );
    let open = samples.open_at(ONE, name(1), after(0));
    for n in 0..1000 {
        samples.take_at(ONE, after(n * 5), &using(n, n * PAGE));
    }
    let kept = samples.history_at(ONE, Millis(0), after(4995)).samples;
    assert_eq!((kept.len(), kept[0].sample.cpu_millis), (MOST, 280));
    assert_eq!(
        kept[719],
        Sampled {
            at: after(4995),
            sample: using(999, 999 * PAGE)
        }
    );
    assert!(kept.is_sorted_by_key(|sampled| sampled.at));
    assert_eq!(samples.history_at(ONE, after(4990), after(4995)).samples.len(), 2);
    drop(open);
    assert_eq!(
        samples.history_at(ONE, Millis(0), after(4995)).samples.len(),
        MOST
    );
    let last = samples.history_at(ONE, Millis(0), after(4995 + 3600));
    assert_eq!(last.samples.len(), 1);
    assert!(samples.history_at(ONE, Millis(0), after(9000)).samples.is_empty());
}

/// Whoever asks has to ask the other managers if, and only if, one of them may have a part.
#[test]
fn a_manager_knows_whether_it_held_the_session_all_the_time() {
    let samples = Arc::new(Samples::default());
    let whole = |since, now| samples.history_at(ONE, since, now).whole;
    assert!(!whole(after(0), after(0)), "no session");
    let first = samples.open_at(ONE, name(1), after(100));
    assert!(!whole(after(99), after(100)) && whole(after(100), after(100)));
    // The runner came again before the end of its former session was noticed.
    let second = samples.open_at(ONE, name(1), after(200));
    drop(first);
    assert!(whole(after(100), after(200)));
    // What is older than an hour nobody has.
    assert!(!whole(Millis(0), after(3699)) && whole(Millis(0), after(3700)));
    samples.take_at(ONE, after(3700), &using(1, 1));
    drop(second);
    assert!(!whole(after(3700), after(3700)), "it may be elsewhere now");
    let _third = samples.open_at(ONE, name(1), after(3800));
    assert!(!whole(after(3700), after(3800)), "it may have been elsewhere");
}

/// The bound that the module's documentation tells, for 5,000 containers.
#[test]
fn an_hour_of_five_thousand_containers_has_its_bound() {
    assert_eq!(size_of::<Kept>(), 32);
    let mut ring = Ring::default();
    // One sends a hundred times as often as it should, and then as it should.
    for n in 0..10_000 {
        ring.take(Millis(START + n * 50), &using(n, n));
    }
    for n in 0..1_000 {
        ring.take(after(1_000 + n * 5), &using(n, n));
    }
    let bytes = ring.taken.capacity() * size_of::<Kept>();
    assert!(ring.taken.len() == MOST && bytes * 5_000 <= 110 << 20, "{bytes}");
}

#[test]
fn what_comes_too_soon_or_is_beyond_all_bounds_does_no_harm() {
    let samples = Arc::new(Samples::default());
    let _open = samples.open_at(ONE, name(1), after(0));
    for n in 0..100 {
        samples.take_at(ONE, Millis(START + n * 100), &using(n, 0));
    }
    let kept = samples.history_at(ONE, Millis(0), after(10)).samples;
    assert_eq!(
        kept.iter().map(|s| s.sample.cpu_millis).collect::<Vec<_>>(),
        [0, 40, 80]
    );
    let all = u64::MAX;
    let liar = Sample {
        cpu_millis: all,
        memory_bytes: all,
        disk_used_bytes: all,
        disk_read_rate: all,
        disk_write_rate: all,
        receive_rate: all,
        send_rate: all,
    };
    samples.take_at(ONE, after(60), &liar);
    let kept = samples.history_at(ONE, after(60), after(60)).samples;
    assert!(kept[0].sample.memory_bytes <= 1 << 45 && kept[0].sample.send_rate <= 1 << 37);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_samples() {
    let mut ring = Ring::default();
    for seconds in [0, 5, 900_000, 10, 15] {
        ring.take(after(seconds), &using(seconds, 0));
    }
    let kept: Vec<_> = ring.taken.iter().map(|kept| kept.cpu_millis).collect();
    assert_eq!(kept, [10, 15]);
}

#[test]
fn figures_are_shown_while_a_session_is_open_and_not_for_too_many() {
    let samples = Arc::new(Samples::default());
    let first = samples.open_at(ONE, name(1), after(0));
    samples.take_at(ONE, after(0), &using(250, 8192));
    let shown = |text: &str| samples.render().contains(text);
    let cpu = format!("quorate_container_cpu_millis{{id=\"{ONE}\",container=\"c1\"}} 250\n");
    assert!(shown(&cpu), "{}", samples.render());
    assert!(shown("quorate_container_memory_bytes{") && shown("} 8192\n"));
    let second = samples.open_at(ONE, name(1), after(0));
    drop(first);
    assert!(shown(&cpu), "a later session is open");
    drop(second);
    assert!(!shown(&cpu) && !shown("} 8192"));

    let many: Vec<_> = (0..SHOWN as u64 + 7)
        .map(|n| {
            let open = samples.open_at(ContainerId(n), name(n), after(0));
            samples.take_at(ContainerId(n), after(100), &using(n, n));
            open
        })
        .collect();
    let text = samples.render();
    assert_eq!(text.matches("quorate_container_cpu_millis{").count(), SHOWN);
    assert!(text.ends_with("quorate_container_figures_unshown 7\n"));
    drop(many);
}

#[test]
fn containers_beyond_the_bound_take_no_memory() {
    let samples = Arc::new(Samples::default());
    let all: Vec<_> = (0..CONTAINERS as u64 + 1)
        .map(|n| samples.open_at(ContainerId(n), name(n), after(0)))
        .collect();
    assert_eq!(samples.lock().rings.len(), CONTAINERS);
    drop(all);
    assert!(samples.lock().rings.is_empty(), "nothing was measured");
}

/// Containers come and go under new ids; what the gone ones measured was kept until there were 20,000.
#[test]
fn a_container_whose_hour_is_over_takes_no_memory() {
    let samples = Arc::new(Samples::default());
    let stays = samples.open_at(ONE, name(1), after(0));
    for n in 2..10 {
        let open = samples.open_at(ContainerId(n), name(n), after(0));
        samples.take_at(ContainerId(n), after(0), &using(n, n));
        drop(open);
    }
    samples.take_at(ONE, after(3600), &using(1, 1));
    assert_eq!(samples.lock().rings.len(), 9, "it is not over");
    samples.take_at(ONE, after(3661), &using(1, 1));
    assert_eq!(samples.lock().rings.len(), 1);
    drop(stays);
    samples.open_at(ContainerId(2), name(2), after(8000));
    assert!(samples.lock().rings.is_empty());
}
