use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::finding::{Finding, Level, counted};
use crate::base::{CellId, ErrorClass, Failure as _, Platform};
use crate::event::{Event, EventSink, Execution};
use crate::plan::{Cell, Plan};
use crate::run::meet::Silent;
use crate::run::{BuilderSettings, Builders, NoEmulator, RunError};
use crate::store::Layout;
use crate::sys::{self, Emulation};

/// A builder that answered: address, version, and how it runs each platform that it takes.
type Ready = (String, String, Vec<(Platform, Execution)>);

/// Whether the builders of `selected` answer, what they are, and how each of their platforms would run there. One that had
/// to be started is ended again.
pub(super) async fn builders(
    plan: &Plan,
    selected: &[&Cell],
    settings: &BuilderSettings,
    layout: &Layout,
    events: &Arc<dyn EventSink>,
) -> Vec<Finding> {
    let built: Vec<&Cell> = selected.iter().copied().filter(|cell| cell.build().is_some()).collect();
    let platforms: Vec<Platform> = built.iter().map(|cell| cell.id.platform.clone()).collect();
    if platforms.is_empty() {
        return Vec::new();
    }
    let ready: Arc<Mutex<Vec<Ready>>> = Arc::default();
    let listening: Arc<dyn EventSink> = {
        let (ready, events) = (Arc::clone(&ready), Arc::clone(events));
        Arc::new(move |event: Event| match event {
            Event::BuilderReady { address, version, platforms } => {
                ready.lock().unwrap_or_else(PoisonError::into_inner).push((address, version, platforms));
            }
            event => events.emit(event),
        })
    };
    let began = Instant::now();
    let builders = Builders::look(plan, &platforms, settings, layout, listening.as_ref()).await;
    let took = began.elapsed();
    let missing = builders.missing_emulators(built.iter().copied());
    let other = builders.check_native(built.iter().copied()).err();
    builders.close().await;
    let ready = std::mem::take(&mut *ready.lock().unwrap_or_else(PoisonError::into_inner));
    let mut findings: Vec<Finding> =
        builders.silent().iter().map(|one| silent(one, &builders, &ready, &built)).collect();
    // A builder that took a platform over need not take all of its cells.
    let served: Vec<&Cell> = built.iter().copied().filter(|cell| builders.unserved(cell).is_none()).collect();
    findings.extend(ready.iter().flat_map(|one| of_builder(one, took, &missing, &served)));
    findings.extend(other.iter().map(|error| {
        let cells = if let RunError::OtherNative(other) = error { vec![other.cell.clone()] } else { Vec::new() };
        Finding::failure("builder", error).cells(cells)
    }));
    findings.extend(missing.into_iter().map(no_emulator));
    findings
}

/// A builder that is of no use: the cells that it was to take, and whether others take them.
fn silent(one: &Silent, builders: &Builders, ready: &[Ready], built: &[&Cell]) -> Finding {
    let finding = Finding::failure("builder", one.error.as_ref());
    let ours = || built.iter().filter(|cell| one.platforms.contains(&cell.id.platform));
    let left = ours().any(|cell| builders.unserved(cell).is_some());
    let finding = finding.cells(ours().map(|cell| cell.id.clone()));
    // Settings that cannot be meant end a build before anything is contacted.
    if left || one.error.class() == ErrorClass::Config {
        return finding;
    }
    let takes = |(_, _, platforms): &&Ready| platforms.iter().any(|(platform, _)| one.platforms.contains(platform));
    let others: Vec<String> = ready.iter().filter(takes).map(|(address, ..)| format!("`{address}`")).collect();
    let text = format!("{}; its cells go to {}", finding.text, others.join(", "));
    Finding { level: Level::Warning, text, ..finding }
}

fn of_builder(
    (address, version, platforms): &Ready,
    took: Duration,
    missing: &[NoEmulator],
    built: &[&Cell],
) -> Vec<Finding> {
    let of = |platform: &Platform| -> Vec<CellId> {
        built.iter().filter(|cell| cell.id.platform == *platform).map(|cell| cell.id.clone()).collect()
    };
    let names: Vec<String> = platforms.iter().map(|(platform, _)| platform.short()).collect();
    let text = format!("{address}  {version}  {:.1} s, takes {}", took.as_secs_f64(), names.join(", "));
    let mut findings =
        vec![Finding::new(Level::Fine, "builder", text).cells(platforms.iter().flat_map(|(platform, _)| of(platform)))];
    for (platform, execution) in platforms {
        if missing.iter().any(|one| one.platform == *platform && one.builder == *address) {
            continue;
        }
        let cells = of(platform);
        if cells.is_empty() {
            continue;
        }
        let count = counted(cells.len(), "cell", "cells");
        let mut finding = Finding::new(Level::Fine, platform.short(), "").cells(cells);
        finding.text = match execution {
            Execution::Absent => format!("no emulator, and none needed: none of {count} runs anything of it"),
            Execution::Emulated(name) => {
                let emulation = here(address, platform);
                if let Some(weakness) = emulation.as_ref().and_then(Emulation::weakness) {
                    finding.level = Level::Warning;
                    finding.fix = Some(
                        "register it again with the flag P, as `apt-get install qemu-user-static` does".to_owned(),
                    );
                    format!("emulated, {count}: {weakness}")
                } else {
                    let by = emulation.as_ref().map_or_else(|| name.clone(), by);
                    format!("emulated by {by}, {count}")
                }
            }
            Execution::Native => format!("native, {count}"),
        };
        findings.push(finding);
    }
    findings
}

/// The emulator of a builder on this machine: only the kernel here can be asked.
fn here(address: &str, platform: &Platform) -> Option<Emulation> {
    address.strip_prefix("unix:")?;
    let emulation = Emulation::of(platform.architecture(), &sys::emulators());
    // A builder with an emulator inside needs none of the kernel's.
    (!matches!(emulation, Emulation::Missing)).then_some(emulation)
}

/// The interpreter with the flags of its registration that matter to containers.
fn by(emulation: &Emulation) -> String {
    match emulation {
        Emulation::Works(emulator) => {
            let flags: String = [(emulator.fixed, 'F'), (emulator.keeps_name, 'P')]
                .iter()
                .filter_map(|(set, flag)| set.then_some(*flag))
                .collect();
            format!("{emulation} with flags {flags}")
        }
        _ => emulation.to_string(),
    }
}

/// RUN steps that cannot be executed, which need not be of their cell's own platform.
fn no_emulator(missing: NoEmulator) -> Finding {
    let subject = missing.platform.short();
    let text = format!("no emulator on the builder: {} cannot run", counted(missing.cells.len(), "cell", "cells"));
    let cells = missing.cells.clone();
    let fix = RunError::NoEmulator(Box::new(missing)).help();
    Finding { fix, ..Finding::new(Level::Error(ErrorClass::Preflight), subject, text) }.cells(cells)
}
