use crate::loopback::{Loopback, response};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Once;
use tenure_daemon::model::catalogue::Weights;
use tenure_daemon::model::pull::{Error, Progress, PullOutcome, Source, path, pull};

fn tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Leaks a few bytes a test: the catalogue is static.
fn weights(sources: &[&str]) -> &'static Weights {
    let hex: String = Sha256::digest(content()).iter().map(|byte| format!("{byte:02x}")).collect();
    let sources: Vec<&'static str> =
        sources.iter().map(|url| &*Box::leak(format!("{url}/w.gguf").into_boxed_str())).collect();
    Box::leak(Box::new(Weights {
        name: "test",
        alias: None,
        title: "Test",
        file: "w.gguf",
        licence: "Apache-2.0",
        bytes: content().len() as u64,
        sha256: Box::leak(hex.into_boxed_str()),
        sources: Box::leak(sources.into_boxed_slice()),
    }))
}

async fn fetch(
    weights: &'static Weights,
    folder: &Path,
    source: Source<'_>,
) -> (Result<PullOutcome, Error>, Vec<Progress>) {
    tls();
    let mut steps = Vec::new();
    let outcome = pull(weights, folder, source, &mut |step| steps.push(step)).await;
    (outcome, steps)
}

fn partial(start: usize) -> Vec<u8> {
    let whole = content();
    let range = format!("content-range: bytes {start}-{}/{}\r\n", whole.len() - 1, whole.len());
    response("206 Partial Content", &range, &whole[start..])
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let whole = response("200 OK", "", &content());
    let head = whole.len() - content().len();
    let server = Loopback::serving(vec![whole[..head + 300_000].to_vec(), partial(300_000)]);
    let weights = weights(&[&server.url]);
    let (outcome, steps) = fetch(weights, folder.path(), Source::Hub).await;
    let there = path(weights, folder.path());
    assert_eq!(outcome.unwrap(), PullOutcome::Fetched(there.clone()));
    assert_eq!(std::fs::read(&there).unwrap(), content());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
    assert!(server.heard()[1].to_lowercase().contains("range: bytes=300000-"));
    assert_eq!(steps.last(), Some(&Progress::Checking { done: weights.bytes, total: weights.bytes }));

    let (again, _) = fetch(weights, folder.path(), Source::Hub).await;
    assert_eq!(again.unwrap(), PullOutcome::AlreadyThere(there), "nothing is asked of the source");
}

#[tokio::test]
async fn a_pull_that_died_is_resumed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.gguf.part"), &content()[..123_456]).unwrap();
    let server = Loopback::serving(vec![partial(123_456)]);
    let weights = weights(&[&server.url]);
    fetch(weights, folder.path(), Source::Hub).await.0.unwrap();
    assert_eq!(std::fs::read(path(weights, folder.path())).unwrap(), content());
}

#[tokio::test]
async fn a_source_that_cannot_resume_is_read_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.gguf.part"), b"rubbish").unwrap();
    let server = Loopback::serving(vec![response("200 OK", "", &content())]);
    let weights = weights(&[&server.url]);
    fetch(weights, folder.path(), Source::Hub).await.0.unwrap();
    assert_eq!(std::fs::read(path(weights, folder.path())).unwrap(), content());
}

#[tokio::test]
async fn bytes_with_another_checksum_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = content();
    wrong[1000] ^= 1;
    let server = Loopback::serving(vec![response("200 OK", "", &wrong)]);
    let weights = weights(&[&server.url]);
    let error = fetch(weights, folder.path(), Source::Hub).await.0.unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_next_source_is_asked_and_when_none_answers_the_way_out_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gone = Loopback::serving(vec![response("404 Not Found", "", b"no")]);
    let good = Loopback::serving(vec![response("200 OK", "", &content())]);
    fetch(weights(&[&gone.url, &good.url]), folder.path(), Source::Hub).await.0.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let error = fetch(weights(&["http://127.0.0.1:1"]), folder.path(), Source::Hub).await.0.unwrap_err();
    assert!(matches!(&error, Error::NoAnswer { tries, .. } if tries.len() == 1), "{error}");
    assert!(error.hint().contains("--from FILE"));
}

#[tokio::test]
async fn a_file_that_a_person_has_is_checked_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine");
    let weights = weights(&[]);
    let target = folder.path().join("models");
    std::fs::write(&file, content()).unwrap();
    fetch(weights, &target, Source::File(&file)).await.0.unwrap();
    assert_eq!(std::fs::read(path(weights, &target)).unwrap(), content());

    std::fs::remove_file(path(weights, &target)).unwrap();
    std::fs::write(&file, b"short").unwrap();
    assert!(matches!(fetch(weights, &target, Source::File(&file)).await.0, Err(Error::Size { found: 5, .. })));
    std::fs::write(&file, vec![0; content().len()]).unwrap();
    assert!(matches!(fetch(weights, &target, Source::File(&file)).await.0, Err(Error::Checksum { .. })));
    assert!(file.exists() && !path(weights, &target).exists());
    let missing = folder.path().join("none");
    assert!(matches!(fetch(weights, &target, Source::File(&missing)).await.0, Err(Error::Io { .. })));
}

#[tokio::test]
async fn two_pulls_at_once_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let part = std::fs::File::create(folder.path().join("w.gguf.part")).unwrap();
    part.lock().unwrap();
    let error = fetch(weights(&["http://127.0.0.1:1"]), folder.path(), Source::Hub).await.0.unwrap_err();
    assert!(matches!(error, Error::Busy(_)), "{error}");
}
