//! Engines that hang, die or are not there: a clear word in bounded time, and never a process that nobody can end.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tenure_sandbox::Error;
use tenure_sandbox::container::{Engine, Removal};

use crate::engines::BUSYBOX;
use crate::house::{House, engines, inside};

#[test]
fn an_engine_that_dies_leaves_its_jails_serving_and_they_can_still_be_ended() {
    for house in engines() {
        let name = house.engine.name();
        let (contained, mut client) = house.open(&house.spec("work", 1));
        kill_process(house.pid(), Signal::KILL).unwrap();
        crate::house::eventually("the engine is gone", || house.runtime.block_on(Engine::at(&house.socket())).is_err());
        assert_eq!(inside(&mut client, "echo served"), "served", "{name}");
        let refused = house.try_open(&house.spec("work", 1), BUSYBOX).map(drop).unwrap_err();
        assert!(matches!(&refused, Error::Engine { .. }), "{name}: {refused:?}");
        assert!(refused.to_string().starts_with(name), "{refused}");
        let began = Instant::now();
        assert!(matches!(house.kill(&contained), Removal::Left { .. }), "{name}");
        assert!(contained.is_dead() && began.elapsed() < Duration::from_secs(20), "{name}");
        let gone = house.runtime.block_on(Engine::at(&house.socket())).map(drop).unwrap_err();
        assert!(gone.contains("engine.sock"), "{gone}");
    }
}

#[test]
fn an_engine_that_hangs_is_given_up_and_what_it_holds_is_killed_without_it() {
    // Most of it is waiting, so both at once.
    let engines = engines();
    std::thread::scope(|scope| {
        let trials: Vec<_> = engines.iter().map(|house| scope.spawn(|| hang(house))).collect();
        for trial in trials {
            trial.join().unwrap();
        }
    });
}

fn hang(house: &House) {
    let name = house.engine.name();
    let (contained, mut client) = house.open(&house.spec("work", 1));
    assert_eq!(inside(&mut client, "echo served"), "served");
    kill_process(house.pid(), Signal::STOP).unwrap();
    let began = Instant::now();
    let silent = house.runtime.block_on(Engine::at(&house.socket())).map(drop).unwrap_err();
    assert!(silent.contains("does not answer within 5 s"), "{silent}");
    let refused = house.try_open(&house.spec("work", 2), BUSYBOX).map(drop).unwrap_err();
    assert!(matches!(&refused, Error::Engine { why, .. } if why.contains("did not answer")), "{name}: {refused:?}");
    assert!(matches!(house.kill(&contained), Removal::Left { .. }), "{name}");
    assert!(contained.is_dead());
    assert!(began.elapsed() < Duration::from_secs(60), "{name}: every wait has an end");
    kill_process(house.pid(), Signal::CONT).unwrap();
    // It may have taken up by then what it was asked before.
    house.runtime.block_on(house.engine.clear(&house.run_dir())).unwrap();
    assert_eq!(house.containers(), Vec::<String>::new(), "{name}");
}

#[test]
fn a_jail_program_that_is_no_program_of_ours_is_refused_with_what_happened() {
    for house in engines() {
        let name = house.engine.name();
        let open = |exe: &Path| {
            house.runtime.block_on(house.engine.open(&house.spec("work", 1), BUSYBOX, exe, &house.run_dir()))
        };
        let refused = open(Path::new("/bin/true")).map(drop).unwrap_err();
        assert!(matches!(&refused, Error::Engine { why, .. } if why.contains("ended at once")), "{name}: {refused:?}");
        let refused = open(&house.path("no-such-program")).map(drop).unwrap_err();
        assert!(matches!(&refused, Error::Io { .. }), "{name}: {refused:?}");
        assert!(!house.path("no-such-program").exists(), "{name}: nothing is made for the sake of a mount");
        assert_eq!(house.containers(), Vec::<String>::new(), "{name}");
    }
}
