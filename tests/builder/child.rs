//! The other side of `Owner`: a program that starts a builder the way catamaran does and holds it.
//!
//! It is a test of this binary, so that no further program has to be built; the others run it as a process of its own.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catamaran::base::Failure as _;
use catamaran::engine::EngineError;
use catamaran::engine::buildkit::daemon::{DaemonOptions, Ids, StartedBuilder};
use catamaran::event::Event;

fn say(text: &str) {
    // Around the capturing of the test runner.
    let mut out = std::io::stdout();
    writeln!(out, "ANSWER {text}").expect("somebody listens");
    out.flush().expect("somebody listens");
}

fn options() -> DaemonOptions {
    let bench = PathBuf::from(env::var_os("BENCH").expect("run by another test"));
    let path = |key: &str, default: PathBuf| env::var_os(key).map_or(default, PathBuf::from);
    let seconds = |key: &str, default: u64| {
        Duration::from_secs(env::var(key).map_or(default, |text| text.parse().expect("a number")))
    };
    let events = |event: Event| match event {
        Event::Waiting { text } => say(&format!("waiting {text}")),
        Event::Warning { text, .. } => say(&format!("warning {text}")),
        _ => {}
    };
    DaemonOptions {
        binary: path("BINARY", bench.join("buildkitd")),
        supervisor: bench.join("catamaran"),
        root: path("ROOT", bench.join("state/builder")),
        run_dir: path("RUN_DIR", bench.join("run")),
        log: bench.join("state/builder.log"),
        search: env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect(),
        environment: vec![
            (OsString::from("OTEL_EXPORTER_OTLP_ENDPOINT"), OsString::from("http://127.0.0.1:1")),
            (OsString::from("NO_PROXY"), OsString::from("127.0.0.1")),
        ],
        registries: Vec::new(),
        entitlements: Vec::new(),
        ids: if env::var_os("SINGLE").is_some() { Ids::AllowSingle } else { Ids::NeedRanges },
        start_timeout: seconds("START_SECONDS", 60),
        lock_timeout: seconds("LOCK_SECONDS", 10),
        events: Arc::new(events),
    }
}

fn report(error: &EngineError) {
    let parts = [error.to_string(), error.help().unwrap_or_default(), error.output().join("\n")];
    say(&format!("failed {}", serde_json::to_string(&parts).expect("texts")));
}

#[test]
#[ignore = "a program that other tests run"]
fn owner() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let builder = match runtime.block_on(StartedBuilder::start(options())) {
        Ok(builder) => builder,
        Err(error) => return report(&error),
    };
    say(&format!("ready {}", builder.address()));
    for order in std::io::stdin().lock().lines() {
        match order.expect("readable").as_str() {
            "stop" => {
                runtime.block_on(builder.stop());
                runtime.block_on(builder.stop());
                say("stopped");
            }
            "words" => {
                runtime.block_on(builder.ended());
                say(&builder.last_words().unwrap_or_default());
            }
            other => panic!("`{other}` is no order"),
        }
    }
}
