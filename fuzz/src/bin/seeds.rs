//! Writes the inputs that fuzzing begins with to `corpus/<target>/`.

use std::{fs, io};

use quorate::{api, config, consensus, session};

fn main() -> io::Result<()> {
    let (bodies, params) = api::fuzzing::api_seeds();
    for (target, seeds) in [
        ("peer_frames", consensus::fuzzing::peer_seeds()),
        ("snapshot_file", consensus::fuzzing::snapshot_seeds()),
        ("log_rows", consensus::fuzzing::log_seeds()),
        ("session_frames", session::fuzzing::session_seeds()),
        ("config_file", config::fuzzing::config_seeds()),
        ("api_bodies", bodies),
        ("api_params", params),
    ] {
        let dir = format!("{}/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        fs::create_dir_all(&dir)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(format!("{dir}/seed-{number}"), seed)?;
        }
    }
    Ok(())
}
