//! A release is all or nothing: tags last, all of them, and back again if they cannot all move.

use std::sync::Arc;

use catamaran::base::{Descriptor, Digest, ErrorClass, Failure as _};
use catamaran::event::{Event, NoEvents};
use catamaran::registry::{
    Journal, PushOptions, PushReceipt, RegistryClient, RegistryError, Release, Settled, push, push_with,
};
use tokio_util::sync::CancellationToken;

use crate::support::release::{Images, client, item, options};
use crate::support::scripted::{Act, Login, Scripted, Seen, error_body};

const NAMES: [&str; 4] = ["base", "nginx", "gitea", "slurm-master"];

/// A registry that holds an old release, and a new one to publish over it.
struct Case {
    registry: Scripted,
    images: Arc<Images>,
    old: Release,
    new: Release,
    client: RegistryClient,
}

impl Case {
    async fn new() -> Self {
        Self::over(Arc::new(Images::new())).await
    }

    /// The same two releases out of a layout that may have them already.
    async fn over(images: Arc<Images>) -> Self {
        let registry = Scripted::start(Login::None).await;
        let prefix = format!("{}/fleet", registry.address);
        let shared = images.layer("shared", 300_000);
        let release = |version: &str| {
            let mut release = images.release(&prefix, &NAMES, version, std::slice::from_ref(&shared));
            for item in &mut release.items {
                item.tags = vec!["stable".parse().expect("a tag")];
            }
            release
        };
        let (old, new) = (release("1"), release("2"));
        let case = Self { registry, images, old, new, client: client() };
        case.push(&case.old).await.expect("the old release");
        case.registry.calm_down();
        case
    }

    async fn push(&self, release: &Release) -> Result<PushReceipt, RegistryError> {
        let cancel = CancellationToken::new();
        push(&self.client, &self.images.layout, release.clone(), Arc::new(NoEvents), &cancel).await
    }

    fn shows(&self, release: &Release) -> Vec<bool> {
        let shows = |name: &&str| self.registry.tag(&format!("fleet/{name}"), "stable");
        NAMES.iter().map(shows).zip(&release.items).map(|(shown, item)| shown == Some(item.index.digest)).collect()
    }
}

#[tokio::test]
async fn d22_tags_are_all_old_or_all_new_when_killed_between() {
    // How many requests a release takes, and which of them are the moment of the tags.
    let images = Arc::new(Images::new());
    let case = Case::over(Arc::clone(&images)).await;
    case.push(&case.new).await.expect("pushed");
    let all = case.registry.seen();
    let tags: Vec<bool> =
        all.iter().map(|seen| seen.method == "PUT" && seen.target.ends_with("/manifests/stable")).collect();
    let first_tag = tags.iter().position(|tag| *tag).expect("tags moved");
    let mut writes = all.iter().zip(&tags).skip(first_tag).filter(|(seen, _)| !matches!(&*seen.method, "GET" | "HEAD"));
    assert!(writes.all(|(_, tag)| *tag), "nothing but tags is written once they move");

    // Killed after so many requests: the registry answers none of us from then on.
    let step = (all.len() / 6).max(1);
    for kill in (0..all.len()).step_by(step).chain([first_tag - 1, first_tag, first_tag + 2]) {
        let case = Case::over(Arc::clone(&images)).await;
        case.registry.script_all(kill, Act::Stall);
        let cancel = CancellationToken::new();
        let layout = case.images.layout.clone();
        let (client, new) = (case.client.clone(), case.new.clone());
        let run = tokio::spawn(async move { push(&client, &layout, new, Arc::new(NoEvents), &cancel).await.map(drop) });
        let mut run = run;
        // How many requests there are differs a little from run to run: it may end before.
        tokio::select! {
            () = case.registry.wait_for(kill) => {
                run.abort();
                drop(run.await);
            }
            _ = &mut run => {}
        }
        let moved =
            |seen: &Seen| seen.method == "PUT" && seen.target.ends_with("/manifests/stable") && seen.status == 201;
        let moved = case.registry.seen().iter().any(moved);

        let (old, new) = (case.shows(&case.old), case.shows(&case.new));
        if moved {
            assert!(old.iter().zip(&new).all(|(old, new)| old != new), "each tag shows one of both");
        } else {
            assert!(old.iter().all(|shows| *shows), "killed at {kill} of {}: {old:?}", all.len());
        }

        // Running it again ends the mix, and sends no blob that is there.
        let there: Vec<_> = case.new.items.iter().map(|item| item.index.digest).collect();
        case.registry.calm_down();
        let receipt = case.push(&case.new).await.expect("finished");
        assert!(case.shows(&case.new).iter().all(|shows| *shows), "{there:?}");
        let again = receipt.uploaded;
        assert!(again <= case.registry.count("PUT", "/blobs/uploads/"));
        for seen in case.registry.seen().iter().filter(|seen| seen.method == "PUT" && seen.target.contains("/uploads/"))
        {
            assert_eq!(seen.status, 201, "no blob is sent that is there: {}", seen.target);
        }
    }
}

#[tokio::test]
async fn a_tag_that_may_not_move_takes_the_others_back() {
    let case = Case::new().await;
    let refusal = Act::Answer(409, Vec::new(), error_body("TAG_IMMUTABLE"));
    case.registry.always("PUT", "/fleet/gitea/manifests/stable", refusal);
    let error = case.push(&case.new).await.expect_err("one tag is immutable");
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(error.to_string().contains("status 409") && error.to_string().contains("gitea"), "{error}");
    assert_eq!(case.shows(&case.old), [true; 4], "the other tags show the old release again");
}

#[tokio::test]
async fn a_mix_that_cannot_be_undone_is_said() {
    let case = Case::new().await;
    case.registry.always("PUT", "/fleet/gitea/manifests/stable", Act::Answer(409, Vec::new(), Vec::new()));
    // Moves once, and then not back.
    case.registry.script(
        "PUT",
        "/fleet/base/manifests/stable",
        1,
        usize::MAX,
        Act::Answer(409, Vec::new(), Vec::new()),
    );
    let error = case.push(&case.new).await.expect_err("half");
    assert!(error.to_string().contains("half published: 1 of its tags are new"), "{error}");
    let help = error.help().expect("what to do");
    assert!(
        help.contains("new: ") && help.contains("fleet/base:stable") && help.contains("fleet/gitea:stable"),
        "{help}"
    );
}

/// What the tags of a first release show, whose tag `gitea` may not be stored.
async fn first_release_with_a_refused_tag(case: &Case, folder: &std::path::Path) -> (RegistryError, Vec<bool>) {
    case.registry.always("PUT", "/first/gitea/manifests/1", Act::Answer(403, Vec::new(), error_body("DENIED")));
    let error = with_journal(case, folder, &first(case)).await.expect_err("one tag is denied");
    let there = |name: &&str| case.registry.tag(&format!("first/{name}"), "1").is_some();
    (error, NAMES.iter().map(there).collect())
}

/// The new images where there was nothing before.
fn first(case: &Case) -> Release {
    let items = case.new.items.iter().map(|new| {
        let name = new.component.to_string();
        item(&format!("{}/first", case.registry.address), &name, "1", new.index.clone())
    });
    Release { items: items.collect() }
}

#[tokio::test]
async fn d22_tags_of_a_first_release_that_cannot_be_finished_are_taken_away() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (error, there) = first_release_with_a_refused_tag(&case, folder.path()).await;
    assert_eq!((error.class(), there), (ErrorClass::Auth, vec![false; 4]), "{error}");
    assert_eq!(Journal::unfinished(folder.path()).expect("a journal"), None);
}

#[tokio::test]
async fn a_tag_of_an_image_that_was_there_before_is_not_deleted() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    // The same images under another tag: a registry that deletes what a tag shows would take them along.
    case.registry.always("DELETE", "/manifests/", Act::Answer(500, Vec::new(), Vec::new()));
    let mut again = case.old.clone();
    for item in &mut again.items {
        item.tags = vec!["other".parse().expect("a tag")];
    }
    case.registry.always("PUT", "/fleet/gitea/manifests/other", Act::Answer(403, Vec::new(), error_body("DENIED")));
    let error = with_journal(&case, folder.path(), &again).await.expect_err("one tag is denied");
    assert!(error.to_string().contains("half published: 3 of its tags are new"), "{error}");
    assert_eq!(case.registry.count("DELETE", "/manifests/"), 0);
}

#[tokio::test]
async fn d22_a_release_that_is_stuck_is_told_until_it_is_whole() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    case.registry.always("DELETE", "/manifests/", Act::Answer(405, Vec::new(), error_body("UNSUPPORTED")));
    let (error, there) = first_release_with_a_refused_tag(&case, folder.path()).await;
    assert!(error.to_string().contains("half published: 3 of its tags are new"), "{error}");
    assert_eq!(there, [true, true, false, true]);
    let unfinished = || Journal::unfinished(folder.path()).expect("a journal").map_or(0, |tags| tags.len());
    assert_eq!(unfinished(), 4);
    // The same again, and something else: the first cannot, the second need not wait for it, and neither forgets.
    with_journal(&case, folder.path(), &first(&case)).await.expect_err("still denied");
    assert_eq!(unfinished(), 4);
    let aside = case.images.release(&format!("{}/aside", case.registry.address), &["base"], "1", &[]);
    let receipt = with_journal(&case, folder.path(), &aside).await.expect("pushed");
    assert_eq!(receipt.settled.map(|settled| settled.outcome), Some(Settled::Stuck));
    assert_eq!(unfinished(), 4);
    case.registry.calm_down();
    let receipt = with_journal(&case, folder.path(), &aside).await.expect("pushed");
    assert_eq!(receipt.settled.map(|settled| settled.outcome), Some(Settled::Finished));
    assert!(case.registry.tag("first/gitea", "1").is_some());
    assert_eq!(unfinished(), 0);
}

#[tokio::test]
async fn a_newer_release_ends_one_that_is_stuck() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    case.registry.always("DELETE", "/manifests/", Act::Answer(405, Vec::new(), error_body("UNSUPPORTED")));
    first_release_with_a_refused_tag(&case, folder.path()).await;
    with_journal(&case, folder.path(), &first(&case)).await.expect_err("still denied");
    // Without the component whose tag is denied.
    let mut newer = first(&case);
    newer.items.retain(|item| item.component.as_str() != "gitea");
    for (item, old) in
        newer.items.iter_mut().zip(case.old.items.iter().filter(|item| item.component.as_str() != "gitea"))
    {
        item.index = old.index.clone();
    }
    with_journal(&case, folder.path(), &newer).await.expect("pushed");
    assert_eq!(Journal::unfinished(folder.path()).expect("a journal"), None, "no mix of it is left");
}

#[tokio::test]
async fn a_tag_that_shows_it_already_is_no_failure() {
    let case = Case::new().await;
    // Somebody else published the same release between our look and our move, and the registry lets no tag change.
    case.registry.always("PUT", "/fleet/base/manifests/stable", Act::DoneBut(409));
    case.push(&case.new).await.expect("it is there");
    assert_eq!(case.shows(&case.new), [true; 4]);
}

#[tokio::test]
async fn cancelling_before_the_tags_changes_nothing_and_closes_the_uploads() {
    let case = Case::new().await;
    case.registry.next("PUT", "/blobs/uploads/", Act::Stall);
    let cancel = CancellationToken::new();
    // One request at a time: of a session that was just being opened elsewhere nobody would know the address.
    let mut options = options();
    options.concurrency = 1;
    let client = RegistryClient::new(options).expect("a client");
    let (layout, new, token) = (case.images.layout.clone(), case.new.clone(), cancel.clone());
    let run = tokio::spawn(async move { push(&client, &layout, new, Arc::new(NoEvents), &token).await });
    case.registry.wait_for_request("PUT", "/blobs/uploads/").await;
    cancel.cancel();
    let error = run.await.expect("no panic").expect_err("cancelled");
    assert_eq!(error.class(), ErrorClass::Cancelled);
    assert_eq!(case.shows(&case.old), [true; 4]);
    assert_eq!(case.registry.open_uploads(), 0, "the registry was told");
}

#[tokio::test]
async fn two_images_cannot_claim_one_tag() {
    let images = Images::new();
    let release = Release {
        items: vec![
            item("127.0.0.1:1/fleet", "a", "1", images.image("a", "1", &[], 10)),
            item("127.0.0.1:1/fleet", "a", "1", images.image("b", "1", &[], 10)),
        ],
    };
    let result = push(&client(), &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await;
    assert_eq!(result.expect_err("ambiguous").class(), ErrorClass::Config);
}

/// distribution rewrites a link for each tag of an image; an index that it checks meanwhile is refused.
#[tokio::test]
async fn tags_of_one_repository_move_one_after_the_other_and_its_index_last() {
    let registry = Scripted::start(Login::None).await;
    let images = Images::new();
    let prefix = format!("{}/fleet", registry.address);
    let mut release = images.release(&prefix, &["app"], "1", &[]);
    let index = images.layout.root().join("blobs/sha256").join(release.items[0].index.digest.hex());
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(index).expect("a blob")).expect("JSON");
    let single: Descriptor = serde_json::from_value(index["manifests"][1].clone()).expect("an entry");
    let mut suffixed = release.items[0].clone();
    (suffixed.index, suffixed.tags) = (single, vec!["1-arm64".parse().expect("a tag")]);
    release.items.push(suffixed);
    push(&client(), &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await.expect("pushed");
    let puts: Vec<String> = registry
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PUT" && seen.target.contains("/manifests/1"))
        .map(|seen| seen.target)
        .collect();
    let all =
        registry.seen().into_iter().filter(|seen| seen.method == "PUT" && seen.target.contains("/manifests/sha256"));
    assert_eq!(all.count(), 3, "two images and their index, each once");
    assert_eq!(puts, ["/v2/fleet/app/manifests/1-arm64", "/v2/fleet/app/manifests/1"]);
}

#[tokio::test]
async fn one_release_goes_to_several_registries() {
    let (one, other) = (Scripted::start(Login::None).await, Scripted::start(Login::None).await);
    let images = Images::new();
    let shared = images.layer("shared", 300_000);
    let mut release = images.release(&format!("{}/fleet", one.address), &NAMES, "1", std::slice::from_ref(&shared));
    release.items.extend(images.release(&format!("{}/copy", other.address), &NAMES, "1", &[shared]).items);
    push(&client(), &images.layout, release.clone(), Arc::new(NoEvents), &CancellationToken::new())
        .await
        .expect("both");
    for (item, name) in release.items.iter().zip(NAMES) {
        assert_eq!(one.tag(&format!("fleet/{name}"), "1"), Some(item.index.digest));
        assert_eq!(other.tag(&format!("copy/{name}"), "1"), Some(item.index.digest));
    }

    // One of them refuses: no tag moves at either.
    let mut next = images.release(&format!("{}/fleet", one.address), &NAMES, "2", &[]);
    next.items.extend(images.release(&format!("{}/copy", other.address), &NAMES, "2", &[]).items);
    other.always("PUT", "/manifests/sha256", Act::Answer(403, Vec::new(), error_body("DENIED")));
    let refused = push(&client(), &images.layout, next, Arc::new(NoEvents), &CancellationToken::new()).await;
    assert_eq!(refused.expect_err("refused").class(), ErrorClass::Auth);
    assert_eq!(one.tag("fleet/base", "2"), None::<Digest>);
}

#[tokio::test]
async fn progress_is_told_to_its_end() {
    let registry = Scripted::start(Login::None).await;
    let images = Images::new();
    let shared = images.layer("shared", 3 << 20);
    let release = images.release(&format!("{}/fleet", registry.address), &NAMES, "1", &[shared]);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let events = Arc::new(move |event: Event| {
        if let Event::Transfer { done, total, .. } = event {
            sink.lock().expect("no panic").push((done.0, total.0));
        }
    });
    push(&client(), &images.layout, release, events, &CancellationToken::new()).await.expect("pushed");
    let told = told.lock().expect("no panic");
    let (done, total) = *told.last().expect("told");
    assert!(done == total && total > 3 << 20, "{told:?}");
}

#[tokio::test]
async fn a_tag_that_somebody_else_moves_meanwhile_is_noticed() {
    let case = Case::new().await;
    let other = case.images.image("gitea", "theirs", &[], 10);
    let theirs =
        Release { items: vec![item(&format!("{}/fleet", case.registry.address), "gitea", "theirs", other.clone())] };
    case.push(&theirs).await.expect("pushed");
    case.registry.calm_down();
    // Between our look at the tags and their moment.
    case.registry.next("POST", "/fleet/base/blobs/uploads/", Act::Stall);
    let cancel = CancellationToken::new();
    let mut options = options();
    options.timeouts.progress = std::time::Duration::from_millis(1500);
    let client = RegistryClient::new(options).expect("a client");
    let (layout, new) = (case.images.layout.clone(), case.new.clone());
    let run = tokio::spawn(async move { push(&client, &layout, new, Arc::new(NoEvents), &cancel).await });
    case.registry.wait_for_request("POST", "/fleet/base/blobs/uploads/").await;
    case.registry.move_tag("fleet/gitea", "stable", other.digest);
    let error = run.await.expect("no panic").expect_err("overtaken");
    assert_eq!(error.class(), ErrorClass::Refused);
    let text = error.to_string();
    assert!(
        text.contains("a tag moved while this push was under way") && text.contains("fleet/gitea:stable"),
        "{text}"
    );
    assert_eq!(case.shows(&case.old), [true, true, false, true], "no other tag moved");
    case.push(&case.new).await.expect("whoever pushes again has seen it");
    assert_eq!(case.shows(&case.new), [true; 4]);
}

/// Publishes with a journal in `folder`, as a new process would.
async fn with_journal(case: &Case, folder: &std::path::Path, release: &Release) -> Result<PushReceipt, RegistryError> {
    let how = PushOptions { journal: Some(Journal::open(folder)?), verify: false, ..PushOptions::default() };
    let cancel = CancellationToken::new();
    let client = RegistryClient::new(options())?;
    push_with(&client, &case.images.layout, release.clone(), &how, Arc::new(NoEvents), &cancel).await
}

/// Stops a push of the new release when so many of its tags have moved, and gives the journal's folder.
async fn stopped(case: &Case, tags: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    case.registry.script("PUT", "/manifests/stable", tags, usize::MAX, Act::Stall);
    {
        let run = with_journal(case, folder.path(), &case.new);
        let moved = async {
            while case.shows(&case.new).iter().filter(|new| **new).count() < tags {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            case.registry.wait_for_request("PUT", "/manifests/stable").await;
        };
        tokio::select! {
            done = run => panic!("it cannot end: {done:?}"),
            () = moved => {}
        }
    }
    case.registry.calm_down();
    let new = case.shows(&case.new).iter().filter(|new| **new).count();
    assert_eq!(new, tags, "a mix");
    folder
}

#[tokio::test]
async fn d22_the_next_push_ends_a_mix_first_whatever_it_publishes() {
    let images = Arc::new(Images::new());
    for tags in [0, 1, 3] {
        let case = Case::over(Arc::clone(&images)).await;
        let folder = stopped(&case, tags).await;
        // Something else altogether, at the same registry.
        let aside = images.release(&format!("{}/aside", case.registry.address), &["base"], "1", &[]);
        let receipt = with_journal(&case, folder.path(), &aside).await.expect("pushed");
        let (old, new) = (case.shows(&case.old), case.shows(&case.new));
        assert!(old == [true; 4] || new == [true; 4], "after {tags}: {old:?}, {new:?}");
        assert!(receipt.settled.is_some());
        let puts = case.registry.seen();
        let blob = puts.iter().position(|seen| seen.target.contains("/uploads/"));
        let tag = puts.iter().rposition(|seen| seen.method == "PUT" && seen.target.ends_with("/manifests/stable"));
        assert!(tag.is_none() || tag < blob, "the old release is settled before anything new is sent");
        // And only once.
        assert_eq!(with_journal(&case, folder.path(), &aside).await.expect("pushed").settled, None);
    }
}

#[tokio::test]
async fn a_mix_that_may_not_be_finished_is_reverted() {
    let images = Arc::new(Images::new());
    let case = Case::over(Arc::clone(&images)).await;
    let folder = stopped(&case, 2).await;
    let left = case.shows(&case.new).iter().position(|new| !*new).expect("a mix");
    let path: &'static str = format!("/fleet/{}/manifests/stable", NAMES[left]).leak();
    case.registry.always("PUT", path, Act::Answer(409, Vec::new(), error_body("TAG_IMMUTABLE")));
    let aside = images.release(&format!("{}/aside", case.registry.address), &["base"], "1", &[]);
    let receipt = with_journal(&case, folder.path(), &aside).await.expect("pushed");
    assert_eq!(case.shows(&case.old), [true; 4], "{:?}", receipt.settled);
    assert!(receipt.warnings.iter().any(|warning| warning.contains("put back")), "{:?}", receipt.warnings);
}

#[tokio::test]
async fn an_account_that_may_not_move_tags_leaves_the_mix_to_the_next() {
    let images = Arc::new(Images::new());
    let case = Case::over(Arc::clone(&images)).await;
    let folder = stopped(&case, 2).await;
    case.registry.always("PUT", "/manifests/stable", Act::Answer(403, Vec::new(), error_body("DENIED")));
    let aside = images.release(&format!("{}/aside", case.registry.address), &["base"], "1", &[]);
    let error = with_journal(&case, folder.path(), &aside).await.expect_err("denied");
    assert_eq!(error.class(), ErrorClass::Auth, "{error}");
    case.registry.calm_down();
    // Two tags refuse for two reasons: one of them may pass.
    let left = case.shows(&case.new).iter().position(|new| !*new).expect("a mix");
    let broken: &'static str = format!("/fleet/{}/manifests/stable", NAMES[left]).leak();
    case.registry.always("PUT", broken, Act::Answer(503, Vec::new(), Vec::new()));
    case.registry.always("PUT", "/manifests/stable", Act::Answer(409, Vec::new(), error_body("TAG_IMMUTABLE")));
    with_journal(&case, folder.path(), &aside).await.expect_err("one of them may go well later");
    case.registry.calm_down();
    let receipt = with_journal(&case, folder.path(), &aside).await.expect("pushed");
    assert!(receipt.settled.is_some());
    assert_eq!(case.shows(&case.new), [true; 4]);
}

#[tokio::test]
async fn a_tag_whose_answer_was_lost_is_looked_at_by_the_next_push() {
    let images = Arc::new(Images::new());
    let case = Case::over(Arc::clone(&images)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let lost = "/fleet/base/manifests/stable";
    case.registry.always("PUT", lost, Act::DoneThenCut);
    // Seen at the beginning and before the tags move, and not after.
    case.registry.script("HEAD", lost, 2, usize::MAX, Act::Answer(503, Vec::new(), Vec::new()));
    let error = with_journal(&case, folder.path(), &case.new).await.expect_err("not known");
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
    let new = case.shows(&case.new);
    assert_eq!(new.iter().filter(|new| **new).count(), 1, "the others were put back");
    case.registry.calm_down();
    let aside = images.release(&format!("{}/aside", case.registry.address), &["base"], "1", &[]);
    let receipt = with_journal(&case, folder.path(), &aside).await.expect("pushed");
    assert!(receipt.settled.is_some(), "the journal was kept open");
    assert_eq!(case.shows(&case.new), [true; 4]);
}
