use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::LIMIT;
use super::finding::{Finding, Level, counted};
use crate::base::{CellId, ErrorClass, Failure as _, Platform, Reference, Repository};
use crate::config::LockFile;
use crate::plan::{Cell, CellWork, Plan};
use crate::registry::{RegistryClient, RegistryError};
use crate::run::Bases;
use crate::run::prefetch::stored_image;
use crate::run::wanted::{Wanted, is_local, wanted_by};
use crate::store::Layout;

/// A clock that is off by more makes tokens and certificates look expired, or not valid yet.
const SKEW: u64 = 300;

/// A repository that a release goes to.
#[derive(Default)]
struct Door {
    tags: Vec<Reference>,
    cells: Vec<CellId>,
}

/// Everything about the registries that `selected` is pushed to: that they are there, whether the login may push, which
/// tags show something already, and what time they have.
pub(super) async fn targets(plan: &Plan, selected: &[&Cell], client: &RegistryClient) -> Vec<Finding> {
    let mut hosts: BTreeMap<String, BTreeMap<Repository, Door>> = BTreeMap::new();
    for cell in selected {
        let Some(component) = plan.component(&cell.id.component).filter(|component| component.addressed) else {
            continue;
        };
        for reference in &component.references {
            let repository = reference.repository();
            let door = hosts.entry(repository.host().to_owned()).or_default().entry(repository.clone()).or_default();
            door.cells.push(cell.id.clone());
            if !door.tags.contains(reference) {
                door.tags.push(reference.clone());
            }
        }
    }
    join_all(hosts.iter().map(|(host, doors)| of_host(host, doors, client))).await.into_iter().flatten().collect()
}

async fn of_host(host: &str, doors: &BTreeMap<Repository, Door>, client: &RegistryClient) -> Vec<Finding> {
    let cells = || doors.values().flat_map(|door| &door.cells).cloned();
    let ahead = match within(host, client.clock_ahead(host)).await {
        Ok(ahead) => ahead,
        // One word for all of its repositories.
        Err(error) => return vec![Finding::failure(host, &error).cells(cells())],
    };
    let mut findings: Vec<Finding> = ahead.and_then(|ahead| skew(host, ahead)).into_iter().collect();
    let tried = join_all(doors.iter().map(|(repository, door)| async move {
        let pushes = within(host, client.try_push(repository)).await;
        let shown = join_all(door.tags.iter().map(|tag| within(host, client.digest_of(tag)))).await;
        (door, pushes, shown)
    }));
    let (mut allowed, mut there) = (Vec::new(), Vec::new());
    let mut taken = Vec::new();
    for (door, pushes, shown) in tried.await {
        match pushes {
            Ok(()) => allowed.push(door),
            Err(error) => findings.push(Finding::failure(host, &error).cells(door.cells.iter().cloned())),
        }
        // A tag that may not be looked at is told by the push that is not allowed, or by nothing: pushing can do without.
        let shows = door.tags.iter().zip(shown).filter(|(_, shown)| matches!(shown, Ok(Some(_))));
        let before = there.len();
        there.extend(shows.map(|(tag, _)| format!("`{tag}`")));
        if there.len() > before {
            taken.extend(door.cells.iter().cloned());
        }
    }
    if !allowed.is_empty() {
        let text = format!("it answers, and takes pushes to {}", counted(allowed.len(), "repository", "repositories"));
        let cells = allowed.iter().flat_map(|door| &door.cells).cloned();
        findings.push(Finding::new(Level::Fine, host, text).cells(cells));
    }
    if !there.is_empty() {
        let text =
            format!("a push would move {}, there already: {}", counted(there.len(), "tag", "tags"), there.join(", "));
        findings.push(Finding::new(Level::Note, host, text).cells(taken));
    }
    findings
}

/// What it means that this machine's clock is `ahead` seconds before that of `host`.
fn skew(host: &str, ahead: i64) -> Option<Finding> {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = ahead.unsigned_abs();
    if seconds <= SKEW {
        return None;
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    let amount = match seconds {
        0..=7200 => format!("{} min", seconds.div_ceil(MINUTE)),
        7201..172_800 => format!("{} h", seconds / HOUR),
        172_800..63_072_000 => format!("{} days", seconds / DAY),
        _ => format!("{} years", seconds / (365 * DAY)),
    };
    let text = format!("this machine's clock is {amount} {way} the registry's");
    let fix = "set the clock (`timedatectl set-ntp true`): tokens and certificates are judged by it";
    Some(Finding::new(Level::Warning, host, text).fix(fix))
}

/// Whether everything that `selected` takes from outside is there, for each platform that it is wanted for.
pub(super) async fn bases(
    plan: &Plan,
    selected: &[&Cell],
    lock: Option<&LockFile>,
    layout: &Layout,
    client: &RegistryClient,
) -> Vec<Finding> {
    let known = Bases::new(lock.cloned().unwrap_or_default());
    let all = wanted_by(selected.iter().copied(), plan).into_iter().filter(|one| !is_local(&one.reference));
    let looked = all.map(|one| {
        let known = &known;
        async move {
            let found = of_image(&one, known, layout, client).await;
            let users = |platform: Option<&Platform>| users(selected, &one.reference, platform);
            match found {
                Ok(()) => Vec::new(),
                Err(errors) => errors
                    .into_iter()
                    .map(|(platform, error)| missing(&one, platform.as_ref(), &error).cells(users(platform.as_ref())))
                    .collect(),
            }
        }
    });
    let looked: Vec<Vec<Finding>> = join_all(looked).await;
    let count = looked.len();
    let wrong = looked.iter().filter(|findings| !findings.is_empty()).count();
    let mut findings: Vec<Finding> = looked.into_iter().flatten().collect();
    if count > wrong {
        let text = format!("{} there, for every platform", counted(count - wrong, "image is", "images are"));
        findings.push(Finding::new(Level::Fine, "bases", text));
    }
    findings
}

type Absent = (Option<Platform>, RegistryError);

async fn of_image(one: &Wanted, known: &Bases, layout: &Layout, client: &RegistryClient) -> Result<(), Vec<Absent>> {
    let root = known.root_of(&one.reference).or_else(|| one.reference.digest().copied());
    // What cannot be read in the layout is asked for at the registry, as a build would.
    let stored =
        |platform: &Platform| root.is_some_and(|root| matches!(stored_image(layout, &root, platform), Ok(Some(_))));
    let open: Vec<&Platform> = one.platforms.iter().filter(|platform| !stored(platform)).collect();
    if open.is_empty() && !one.builder {
        return Ok(());
    }
    let reference = match root {
        Some(root) => one.reference.repository().at(root),
        None => one.reference.clone(),
    };
    let host = one.reference.repository().host();
    let root = within(host, client.fetch_manifest(&reference)).await.map_err(|error| vec![(None, error)])?;
    let asked = join_all(open.into_iter().map(|platform| {
        let root = &root;
        async move {
            // Through to the config: an index may say anything.
            let found = within(host, client.resolve_in(&one.reference, root, platform)).await;
            found.err().map(|error| (Some(platform.clone()), error))
        }
    }));
    let absent: Vec<Absent> = asked.await.into_iter().flatten().collect();
    if absent.is_empty() { Ok(()) } else { Err(absent) }
}

/// What it means for a build that an image is not to be had from here.
fn missing(one: &Wanted, platform: Option<&Platform>, error: &RegistryError) -> Finding {
    let finding = Finding::failure("bases", error);
    let text = format!("`{}`: {}", one.reference, finding.text);
    let unreached = matches!(error.class(), ErrorClass::Network | ErrorClass::RateLimited);
    // A builder may reach what this machine does not; externals are fetched from here.
    let level = if unreached && one.is_base { Level::Warning } else { finding.level };
    // The registry only says that it has no such thing; what that is wanted for is known here.
    let fix = finding.fix.or_else(|| match (error.class(), platform) {
        (ErrorClass::NotFound, Some(platform)) => {
            Some(format!("use an image that has {platform}, or leave {platform} out of the component's `platforms`"))
        }
        (ErrorClass::NotFound, None) => Some("correct its name and tag, or push it there first".to_owned()),
        _ => None,
    });
    Finding { level, text, fix, ..finding }
}

/// The cells that take an image, for one platform where one is at fault.
fn users(selected: &[&Cell], reference: &Reference, platform: Option<&Platform>) -> Vec<CellId> {
    let takes = |cell: &&&Cell| match &cell.work {
        CellWork::Build(build) => build.frontend.iter().chain(&build.bases).any(|base| {
            let fits = platform.is_none() || base.platform.as_ref() == platform;
            fits && base.reference.familiar() == reference.familiar()
        }),
        CellWork::Mirror(image) => {
            image.familiar() == reference.familiar() && platform.is_none_or(|platform| cell.id.platform == *platform)
        }
        CellWork::Excluded(_) => false,
    };
    selected.iter().filter(takes).map(|cell| cell.id.clone()).collect()
}

/// An answer that comes in time, or that it did not.
async fn within<T>(host: &str, asked: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let limit: Duration = LIMIT;
    let late = || RegistryError::Stalled { host: host.to_owned(), action: "answer".to_owned(), limit };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_are_no_skew() {
        assert!(skew("r", 300).is_none() && skew("r", -300).is_none());
        assert!(skew("r", 301).is_some_and(|finding| finding.text.contains("6 min ahead of")));
        assert!(skew("r", 10_000).is_some_and(|finding| finding.text.contains("2 h ahead of")));
        assert!(skew("r", -864_000).is_some_and(|finding| finding.text.contains("10 days behind")));
        assert!(skew("r", -817_236_360).is_some_and(|finding| finding.text.contains("25 years behind")));
        assert!(skew("r", -3600).is_some_and(|finding| finding.text.contains("60 min behind")));
        assert!(skew("r", i64::MAX).is_some());
    }
}
