//! Reading beside everything else that may hang: no one's slow read or slow name look-up keeps others from the store.
use std::sync::mpsc;
use std::time::Duration;
use tenure_store::{Error, Options, Store};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Nothing here takes as long; a read that hangs must fail its test all the same.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(folder.path())).unwrap();
    (folder, store)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap()
}

#[test]
fn reads_go_on_while_every_blocking_thread_of_the_runtime_hangs() {
    let (_folder, store) = opened();
    let runtime = runtime();
    let (release, hang) = mpsc::channel::<()>();
    let hang = std::sync::Arc::new(std::sync::Mutex::new(hang));
    let (started, begun) = mpsc::channel();
    for _ in 0..2 {
        let (hang, started) = (hang.clone(), started.clone());
        runtime.spawn_blocking(move || {
            started.send(()).unwrap();
            let _ = hang.lock().unwrap().recv();
        });
    }
    (0..2).for_each(|_| begun.recv().unwrap());
    let read = runtime.block_on(async { timeout(TEST_TIMEOUT, store.reader().read(|_| Ok(7))).await });
    drop(release);
    assert_eq!(read.expect("the read does not wait for the runtime's blocking threads").unwrap(), 7);
}

#[test]
fn reads_of_reconcilers_that_hang_do_not_keep_people_waiting() {
    let (_folder, store) = opened();
    let runtime = runtime();
    let (release, hang) = mpsc::channel::<()>();
    let hang = std::sync::Arc::new(std::sync::Mutex::new(hang));
    let background: Vec<_> = (0..8)
        .map(|_| {
            let (reader, hang) = (store.reader().background(), hang.clone());
            runtime.spawn(async move {
                let read = reader.read(move |_| {
                    let _ = hang.lock().unwrap().recv();
                    Ok(())
                });
                read.await
            })
        })
        .collect();
    let read = runtime.block_on(async { timeout(TEST_TIMEOUT, store.reader().interactive().read(|_| Ok(7))).await });
    drop(release);
    assert_eq!(read.expect("people's reads have threads of their own").unwrap(), 7);
    for waiting in background {
        runtime.block_on(waiting).unwrap().unwrap();
    }
}

#[test]
fn a_read_that_panics_fails_alone_and_its_thread_reads_on() {
    let (_folder, store) = opened();
    let runtime = runtime();
    for _ in 0..4 {
        let read = runtime.block_on(store.reader().read(|_| -> Result<(), Error> { panic!("meant") }));
        assert!(matches!(read, Err(Error::Invariant { .. })));
    }
    assert_eq!(runtime.block_on(store.reader().read(|_| Ok(7))).unwrap(), 7);
}

#[test]
fn a_closed_store_answers_the_reads_that_wait_and_those_that_come_with_stopped() {
    let (_folder, store) = opened();
    let runtime = runtime();
    let reader = store.reader().clone();
    let (release, hang) = mpsc::channel::<()>();
    let hang = std::sync::Arc::new(std::sync::Mutex::new(hang));
    let (started, begun) = mpsc::channel();
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (reader, hang, started) = (reader.clone(), hang.clone(), started.clone());
            runtime.spawn(async move {
                let read = reader.read(move |_| {
                    started.send(()).unwrap();
                    let _ = hang.lock().unwrap().recv();
                    Ok(())
                });
                read.await
            })
        })
        .collect();
    (0..2).for_each(|_| begun.recv().unwrap());
    let closing = std::thread::spawn(move || drop(store));
    while !matches!(runtime.block_on(reader.read(|_| Ok(()))), Err(Error::Stopped)) {}
    drop(release);
    closing.join().unwrap();
    let answers: Vec<_> = asked.into_iter().map(|asked| runtime.block_on(asked).unwrap()).collect();
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(done, 2, "what had begun is finished: {answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(Error::Stopped))));
}
