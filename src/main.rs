//! The `quorate` binary: wiring and exit codes only.

fn main() {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: what follows becomes another program, and must not start threads first.
    if args.next().is_some_and(|first| first == quorate::runner::exec::SUBCOMMAND) {
        quorate::runner::exec::run(args)
    }
}
