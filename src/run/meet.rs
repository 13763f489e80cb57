use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::named::Named;
use super::posts::{Post, Reach};
use super::{BuilderSettings, Fallback};
use crate::base::Platform;
use crate::engine::{Engine, EngineError};
use crate::event::{Event, EventSink};
use crate::store::Layout;

/// A builder that is of no use, and the platforms whose cells were to go to it.
pub(super) struct Silent {
    pub(super) error: Arc<EngineError>,
    pub(super) platforms: Vec<Platform>,
}

/// Who came of the builders that the platforms of a run need.
#[derive(Default)]
pub(super) struct Met {
    /// The builders that answered and the platforms that they take, in the order of the project file, the fallback last.
    pub(super) taken: Vec<(Post, Vec<Platform>)>,
    /// Builders that nobody needed so far.
    pub(super) spare: Vec<Post>,
    /// Those that did not answer.
    pub(super) silent: Vec<Silent>,
    /// Platforms of which no builder that was named for them answered, with the first one's reason. Others may have taken
    /// them over.
    pub(super) deserted: Vec<(Platform, Arc<EngineError>)>,
}

type Answer = Option<Result<Arc<dyn Engine>, Arc<EngineError>>>;

/// Asks every builder that takes one of `platforms`, all at the same time, and no other.
///
/// The rule for one that does not answer is that of one that is lost in the middle of a run (see
/// [`super::posts::Posts::replace`]): others that list the platform take its cells, else those of the project that list none.
/// What is left without a builder is left to its cells, so that everything else can be built.
pub(super) async fn meet(
    named: &[Named],
    platforms: &[Platform],
    settings: &BuilderSettings,
    layout: &Layout,
    events: &dyn EventSink,
) -> Met {
    let mut assigned = assign(platforms, named);
    let rest: Vec<Platform> =
        assigned.iter().filter(|(_, takers)| takers.is_empty()).map(|(platform, _)| platform.clone()).collect();
    let wanted: Vec<bool> = (0..named.len()).map(|at| !taken(&assigned, at).is_empty()).collect();
    let (mut answers, started) =
        futures_util::join!(ask(named, &wanted, settings, layout, events), start(&rest, settings, layout));
    let mut met = Met::default();
    desert(&mut assigned, named, &answers, &mut met.deserted);
    // Whoever stands in and was not needed before is asked now.
    let later: Vec<bool> =
        (0..named.len()).map(|at| answers[at].is_none() && !taken(&assigned, at).is_empty()).collect();
    for (at, answer) in ask(named, &later, settings, layout, events).await.into_iter().enumerate() {
        answers[at] = answer.or(answers[at].take());
    }
    for (at, (answer, builder)) in answers.into_iter().zip(named).enumerate() {
        let platforms = taken(&assigned, at);
        let post =
            Post::unreached(builder.platforms.clone(), !builder.falls_back, Some(builder.reach(settings, layout)));
        match answer {
            None => met.spare.push(post),
            Some(Ok(engine)) => met.taken.push((post.with(engine).of(builder.capacity), platforms)),
            Some(Err(error)) => met.silent.push(Silent { error, platforms }),
        }
    }
    match started {
        None => {}
        Some(Ok(post)) => met.taken.push((post, rest)),
        Some(Err(error)) => {
            let error = Arc::new(error);
            met.deserted.extend(rest.iter().map(|platform| (platform.clone(), Arc::clone(&error))));
            met.silent.push(Silent { error, platforms: rest });
        }
    }
    met
}

/// Connects to those that are `wanted`.
async fn ask(
    named: &[Named],
    wanted: &[bool],
    settings: &BuilderSettings,
    layout: &Layout,
    events: &dyn EventSink,
) -> Vec<Answer> {
    let connections = named.iter().zip(wanted).map(|(builder, wanted)| async move {
        if !wanted {
            return None;
        }
        builder.warn(events);
        Some(builder.connect(settings, layout).await.map_err(Arc::new))
    });
    join_all(connections).await
}

/// Starts a builder for the platforms that nobody was named for.
async fn start(rest: &[Platform], settings: &BuilderSettings, layout: &Layout) -> Option<Result<Post, EngineError>> {
    let Fallback::Start(start) = &settings.fallback else { return None };
    if rest.is_empty() {
        return None;
    }
    let (start, layout) = (Arc::clone(start), layout.clone());
    let reach: Reach = Box::new(move || {
        start(layout.clone()).map(|started| started.map(|engine| Arc::new(engine) as Arc<dyn Engine>)).boxed()
    });
    Some(reach().await.map(|engine| Post::started(engine, reach)))
}

/// Gives the platforms that nobody answers for to the builders of the project that list none.
fn desert(
    assigned: &mut [(Platform, Vec<usize>)],
    named: &[Named],
    answers: &[Answer],
    deserted: &mut Vec<(Platform, Arc<EngineError>)>,
) {
    for (platform, takers) in assigned {
        let first = takers.iter().find_map(|at| answers[*at].as_ref()?.as_ref().err());
        let answered = takers.iter().any(|at| matches!(answers[*at], Some(Ok(_))));
        let Some(first) = first.filter(|_| !answered) else { continue };
        deserted.push((platform.clone(), Arc::clone(first)));
        let others = (0..named.len()).filter(|at| named[*at].platforms.is_empty() && !named[*at].falls_back);
        let others: Vec<usize> = others.filter(|at| !takers.contains(at)).collect();
        takers.extend(others);
    }
}

/// Which builders take each platform: those that list it, else those that list none, else the fallback; nobody where one is
/// to be started.
fn assign(platforms: &[Platform], named: &[Named]) -> Vec<(Platform, Vec<usize>)> {
    let mut assigned: Vec<(Platform, Vec<usize>)> = Vec::new();
    for platform in platforms {
        if assigned.iter().any(|(known, _)| known == platform) {
            continue;
        }
        let all = |takes: &dyn Fn(&Named) -> bool| {
            named.iter().enumerate().filter(|(_, builder)| takes(builder)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let mut takers = all(&|builder| builder.platforms.contains(platform));
        if takers.is_empty() {
            takers = all(&|builder| builder.platforms.is_empty() && !builder.falls_back);
        }
        if takers.is_empty() {
            takers = all(&|builder| builder.falls_back);
        }
        assigned.push((platform.clone(), takers));
    }
    assigned
}

fn taken(assigned: &[(Platform, Vec<usize>)], by: usize) -> Vec<Platform> {
    assigned.iter().filter(|(_, takers)| takers.contains(&by)).map(|(platform, _)| platform.clone()).collect()
}

/// Tells of every builder that is of no use, unless its cells will: who does its work.
pub(super) fn tell(met: &Met, events: &dyn EventSink) {
    // Where nobody answered the run ends with all of them.
    if met.taken.is_empty() {
        return;
    }
    for silent in &met.silent {
        let others: Vec<String> = met
            .taken
            .iter()
            .filter(|(_, platforms)| platforms.iter().any(|platform| silent.platforms.contains(platform)))
            .filter_map(|(post, _)| Some(format!("`{}`", post.address()?)))
            .collect();
        let told_by_cells = met.deserted.iter().any(|(_, error)| Arc::ptr_eq(error, &silent.error));
        let text = match others.as_slice() {
            [] if told_by_cells => continue,
            [] => silent.error.to_string(),
            others => format!("{}; its cells go to {}", silent.error, others.join(", ")),
        };
        events.emit(Event::Warning { cell: None, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    fn builder(platforms: &[&str]) -> Named {
        let platforms = platforms.iter().map(|text| platform(text)).collect();
        Named::plain("tcp://b:1", platforms)
    }

    fn fallback() -> Named {
        let mut named = builder(&[]);
        named.falls_back = true;
        named
    }

    fn silence() -> EngineError {
        EngineError::unreachable("tcp://b:1", "nobody is there")
    }

    #[test]
    fn a_builder_that_lists_a_platform_gets_it() {
        let platforms = [platform("amd64"), platform("arm64"), platform("amd64"), platform("riscv64")];
        let at = |named: &[Named]| assign(&platforms, named).into_iter().map(|(_, at)| at).collect::<Vec<_>>();
        assert_eq!(at(&[builder(&["arm64"])]), [vec![], vec![0], vec![]]);
        assert_eq!(at(&[builder(&[]), builder(&["arm64"])]), [vec![0], vec![1], vec![0]]);
        assert_eq!(at(&[builder(&["amd64", "arm64"]), builder(&["arm64"])]), [vec![0], vec![0, 1], vec![]]);
        assert_eq!(at(&[]), [vec![], vec![], vec![]] as [Vec<usize>; 3]);
        assert_eq!(at(&[builder(&["arm64"]), fallback()]), [vec![1], vec![0], vec![1]]);
    }

    #[test]
    fn only_builders_of_the_project_stand_in() {
        let named = [builder(&["amd64"]), builder(&["arm64"]), builder(&[]), fallback()];
        let mut assigned = assign(&[platform("amd64"), platform("arm64")], &named);
        let mut deserted = Vec::new();
        desert(&mut assigned, &named, &[None, Some(Err(Arc::new(silence()))), None, None], &mut deserted);
        assert_eq!(deserted.iter().map(|(platform, _)| platform.short()).collect::<Vec<_>>(), ["arm64"]);
        assert_eq!(assigned, [(platform("amd64"), vec![0]), (platform("arm64"), vec![1, 2])]);
    }
}
