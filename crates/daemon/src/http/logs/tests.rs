use super::*;
use crate::model::router::Router;
use crate::testing::{Driven, app, environment};
use std::path::Path;

fn api(app: &Arc<crate::app::App>) -> ApiState {
    let installation = super::super::Installation {
        certificates: None,
        data_dir: "none".into(),
        started_at: app.committer.now().at,
        home_grace_ms: 0,
        owner: 0,
        listening: Vec::new(),
    };
    let greeting = tokio::sync::watch::channel(None).1;
    let shares = crate::http::shares::Shares::default();
    let models = Arc::new(Router::new(&environment(Path::new("none"), None)).unwrap());
    let (records, disk) = (app.records.interactive(), crate::disk::Disk::default());
    let in_flight = crate::http::mcp::InFlight::default();
    ApiState {
        app: Arc::clone(app),
        records,
        greeting,
        shares,
        installation,
        models,
        disk,
        in_flight,
        attempts: crate::http::Attempts::default(),
    }
}

/// All pages put together as a client does, and how many there were, none of more turns than `turns_max`.
async fn whole(
    api: &ApiState,
    id: ExecutionId,
    limit: u32,
    bytes: usize,
    turns_max: usize,
) -> (Vec<IterationLog>, usize) {
    let (mut logs, mut pages, mut from) = (Vec::<IterationLog>::new(), 0, Place { iteration: 1, turn: 0 });
    loop {
        let page = api.log_page(id, from, None, limit, bytes).await.unwrap();
        pages += 1;
        assert!(page.items.len() <= limit as usize);
        assert!(page.items.iter().map(|item| item.log.len()).sum::<usize>() <= turns_max);
        for item in page.items {
            match logs.last_mut() {
                Some(last) if last.iteration.number == item.iteration.number => last.go_on(item),
                Some(_) | None => logs.push(item),
            }
        }
        match page.next_cursor {
            Some(cursor) => from = cursor.parse().unwrap(),
            None => return (logs, pages),
        }
    }
}

#[tokio::test]
async fn pages_of_a_log_are_bounded_and_together_they_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    let mut execution = Driven::start(&app).await;
    for number in 1..=3 {
        execution.begin_iteration().await;
        for turn in 0..40 {
            execution.turn(&format!("{number}.{turn}"), 1 + turn % 2, &"r".repeat(1000)).await;
        }
        execution.turn(&format!("end of {number}"), 0, "").await;
        execution.end_iteration(number == 3, "why not").await;
    }
    let api = api(&app);
    let (once, pages) = whole(&api, execution.id, tenure_wire::api::LIMIT_DEFAULT, PAGE_BYTES, usize::MAX).await;
    assert_eq!((once.len(), pages), (3, 1));
    assert!(once.iter().all(|iteration| iteration.log.len() == 41 && iteration.log[39].calls.len() == 2));
    assert_eq!(once[1].iteration.validation[0].reasons.as_deref(), Some("why not"));
    assert_eq!((once[2].iteration.status, once[2].output.as_deref()), (IterationStatus::Completed, Some("end of 3")));
    for (limit, bytes, turns_max) in [(1, PAGE_BYTES, 41), (500, 1, 1), (500, 8_000, 8)] {
        let (paged, pages) = whole(&api, execution.id, limit, bytes, turns_max).await;
        assert_eq!(paged, once, "limit {limit}, {bytes} bytes");
        assert!(pages >= 123 / turns_max, "{pages} pages");
    }
    let second = api.log_page(execution.id, Place { iteration: 2, turn: 0 }, Some(2), 50, PAGE_BYTES).await.unwrap();
    assert_eq!((second.items, second.next_cursor), (vec![once[1].clone()], None));
}

#[tokio::test]
async fn iterations_add_up_in_the_database_and_reasons_are_cut_beyond_their_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (app, store) = app(folder.path());
    let mut execution = Driven::start(&app).await;
    for _ in 1..=4 {
        execution.begin_iteration().await;
        execution.turn("look", 3, "it").await;
        execution.turn("done", 0, "").await;
        execution.end_iteration(false, &"x".repeat(4000)).await;
    }
    execution.begin_iteration().await;
    execution.turn("look", 2, "it").await;
    let (id, now) = (execution.id, app.committer.now());
    let shown = app.records.read(move |txn| iterations(txn, id, 10_000, now)).await.unwrap();
    assert_eq!(shown.len(), 5);
    let sums = |one: &Iteration| (one.turns, one.tool_calls, one.tokens_in, one.tokens_out, one.cost_micro_usd);
    assert_eq!(sums(&shown[3]), (2, 3, 200, 40, 14));
    assert_eq!((sums(&shown[4]), shown[4].status), ((1, 2, 100, 20, 7), IterationStatus::Running));
    let lengths = shown.iter().map(|one| one.validation.first().map(|found| found.reasons.clone().unwrap().len()));
    assert_eq!(lengths.collect::<Vec<_>>(), [Some(4000), Some(4000), Some(3), Some(3), None]);
    drop(store);
}
