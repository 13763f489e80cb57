//! Two real builders of one platform with room for one cell each, and the cells of a fleet that are spread over them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};

const CELLS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A step at the gate: its cell, and the folder of the daemon that it runs on as its own mounts show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    cell: String,
    daemon: String,
}

/// Each cell's RUN asks this for `/CELL/FOLDER/OF/ITS/DAEMON/` and goes on when it is answered: always two together, which no
/// single builder with room for one cell can have. Gives the pairs.
fn gate(listener: TcpListener) -> thread::JoinHandle<Vec<[Step; 2]>> {
    thread::spawn(move || {
        let arrive = || -> (Step, TcpStream) {
            let (stream, _) = listener.accept().expect("a step");
            let mut lines = BufReader::new(&stream).lines().map(|line| line.expect("a request"));
            let asked = lines.next().expect("a request");
            // To the end of its head: what is left unread would end the connection before the answer is read.
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = asked.split(' ').nth(1).expect("a path").trim_start_matches('/');
            let (cell, daemon) = path.split_once('/').expect("a name and a folder");
            (Step { cell: cell.to_owned(), daemon: format!("/{daemon}") }, stream)
        };
        let pair = |_| {
            let (first, second) = (arrive(), arrive());
            for mut stream in [first.1, second.1] {
                stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("a step that waits");
            }
            [first.0, second.0]
        };
        (0..CELLS.len() / 2).map(pair).collect()
    })
}

/// The folder that a daemon has for itself, as mounts of its containers show it.
fn folder(daemon: &Daemon) -> &str {
    daemon.address().trim_start_matches("unix://").trim_end_matches("/s")
}

fn project(daemons: &[&Daemon], port: u16) -> Project {
    let mut config = "name = \"spread\"\nplatforms = [\"linux/amd64\"]\ncontext = \".\"\n".to_owned();
    if cfg!(target_arch = "aarch64") {
        config = config.replace("amd64", "arm64");
    }
    for (at, daemon) in daemons.iter().enumerate() {
        write!(config, "[builder.b{at}]\naddress = \"{}\"\ncapacity = 1\n", daemon.address()).expect("a text");
    }
    for name in CELLS {
        write!(config, "[component.{name}]\ndockerfile = \"Dockerfile\"\nargs = {{ CELL = \"{name}\" }}\n")
            .expect("a text");
    }
    let here = "$(grep -o '/[^ =:]*/bk[^/]*/root/' /proc/self/mountinfo | head -n 1)";
    let step = format!("ARG CELL\nRUN wget -q -O /$CELL http://127.0.0.1:{port}/$CELL{here}\n");
    Project::with_shell(&config, &[("Dockerfile", &format!("{SHELL}{step}"))])
}

#[test]
fn cells_are_spread_over_builders_of_one_platform_and_none_has_more_than_it_takes() {
    let daemons = [Daemon::start(), Daemon::start()];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let project = project(&[&daemons[0], &daemons[1]], port);
    let gate = gate(listener);
    let ran = project.run(&["build", "--json", "--progress", "json"]).exits(0);
    let pairs = gate.join().expect("no step failed");
    let names: BTreeSet<String> = CELLS.iter().map(ToString::to_string).collect();
    let arrived: BTreeSet<String> = pairs.iter().flatten().map(|step| step.cell.clone()).collect();
    assert_eq!(arrived, names, "each cell was at the gate once");

    // The choice is in the event stream, and by it no builder has two cells at once.
    let events: Vec<Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect("an event in each line")).collect();
    let of_kind = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    let ready: BTreeSet<&str> = of_kind("builder-ready").iter().filter_map(|event| event["builder"].as_str()).collect();
    assert_eq!(ready, daemons.iter().map(Daemon::address).collect());
    let mut chosen: BTreeMap<String, String> = BTreeMap::new();
    let mut busy: BTreeMap<String, String> = BTreeMap::new();
    for event in &events {
        let cell = event["component"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("cell-started") => {
                let builder = event["builder"].as_str().expect("an address").to_owned();
                assert_eq!(busy.insert(builder.clone(), cell.clone()), None, "two cells at once on {builder}");
                assert_eq!(chosen.insert(cell.clone(), builder), None, "{cell} was started once");
            }
            Some("cell-finished") => busy.retain(|_, running| *running != cell),
            _ => {}
        }
    }
    assert_eq!(chosen.keys().cloned().collect::<BTreeSet<_>>(), names);

    // What the steps saw says the same: those of one pair ran at the same time, each on the builder that was told.
    for pair in &pairs {
        assert_ne!(pair[0].daemon, pair[1].daemon, "both ran at the same time on one builder: {pair:?}");
        for step in pair {
            let told = daemons.iter().find(|daemon| daemon.address() == chosen[&step.cell]).expect("one of both");
            assert_eq!(step.daemon, format!("{}/root/", folder(told)));
        }
    }

    // And so do the result and the record that is kept.
    let document = ran.json();
    for cell in document["cells"].as_array().expect("cells") {
        let name = cell["component"].as_str().expect("a name");
        assert_eq!(cell["builder"], chosen[name].as_str());
        let platform = cell["platform"].as_str().expect("a platform").replace('/', "-");
        let record =
            std::fs::read(project.path(&format!(".catamaran/cells/{name}/{platform}.json"))).expect("a record");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        assert_eq!(record["builder"], chosen[name].as_str());
    }
}
