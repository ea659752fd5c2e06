use quorate::{
    config::{ManagerConfig, Sources},
    security::Bundle,
    telemetry,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
fn main() {
    let mut first = std::env::args_os().skip(1);
    // Before anything else: what follows becomes another program, and must not start threads first.
    if first
        .next()
        .is_some_and(|first| first == quorate::runner::exec::SUBCOMMAND)
    {
        quorate::runner::exec::run(first)
    }
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "cluster" {
        Bundle::create(std::path::Path::new(&args[4])).unwrap();
        return;
    }
    let config: ManagerConfig = Sources::default().file(Some(&args[3])).load().unwrap();
    quorate::security::install_crypto();
    telemetry::init_logs(&config.logs).unwrap();
    let metrics = telemetry::Metrics::install().unwrap();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let shutdown = CancellationToken::new();
    let s2 = shutdown.clone();
    rt.block_on(async move {
        tokio::spawn(async move {
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
            term.recv().await;
            s2.cancel();
        });
        quorate::node::run(
            config,
            Arc::new(move || metrics.render()),
            Arc::new(|why| {
                eprintln!("fatal: {why}");
                std::process::exit(70)
            }),
            shutdown,
        )
        .await
        .unwrap();
    });
}
