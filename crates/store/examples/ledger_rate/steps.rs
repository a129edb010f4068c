//! Executions driven by commands as the daemon would drive them, with nothing behind them that does what is owed.
use crate::world::{self, OWNER, World, commit};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenure_core::aggregate::{Command, Fold, Stream};
use tenure_core::call::{EndCall, Open, Outcome};
use tenure_core::capability::Attributes;
use tenure_core::execution::{self, Check, Execution, Finding, Step};
use tenure_core::facts::Facts;
use tenure_core::id::{CallId, ExecutionId, Mint};
use tenure_core::plan::{Limits, Plan};
use tenure_core::time::Time;
use tenure_store::{Class, Options, Store, Txn, Writer};
use tokio::runtime::Runtime;

/// More than the calls of any measurement: each has a validator of its own.
const VALIDATORS: usize = 1 << 16;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Runs a command and gives the execution as it is then.
async fn run(
    writer: &Writer,
    class: Class,
    id: ExecutionId,
    world: &mut World,
    command: execution::Command,
) -> Arc<Fold> {
    let (now, seed) = world.tick();
    let job = move |txn: &mut Txn<'_>| commit(txn, OWNER, Command::Execution(id, command), now, seed);
    let committed = writer.write(class, job).await.expect("the commit stands").expect("the command fits");
    world::after::<Execution>(&committed, id)
}

/// Executions whose outputs are checked without end, so that a governed call is two commits and no more.
pub(crate) struct Crowd {
    store: Store,
    runtime: Runtime,
    executions: Vec<(ExecutionId, World)>,
}

impl Crowd {
    /// Reads the recorded calls with what their judge saw, as a replay does: how many there are, and how many a second.
    pub(crate) fn past(&self) -> (u64, f64) {
        const PAGE: u32 = 512;
        let begin = Instant::now();
        let (mut from, mut read) = (CallId::mint(&mut Mint::new(Time::from_millis(0), 0)), 0);
        loop {
            let page = self.store.reader().read_blocking(|sql| {
                let rows = tenure_store::rows::calls::from(sql, from, PAGE + 1)?;
                for row in rows.iter().take(PAGE as usize) {
                    let bytes = tenure_store::payload(sql, self.store.blobs(), &row.attributes)?;
                    let seen: Option<Attributes> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                    assert!(seen.is_some(), "what a judge saw is there");
                }
                Ok(rows.into_iter().map(|row| row.id).collect::<Vec<_>>())
            });
            let page = page.expect("the calls are read");
            read += page.len().min(PAGE as usize) as u64;
            match page.get(PAGE as usize) {
                Some(next) => from = *next,
                None => return (read, read as f64 / begin.elapsed().as_secs_f64()),
            }
        }
    }

    pub(crate) fn open(dir: &Path, count: usize) -> Crowd {
        let store = Store::open(Options::new(dir)).expect("the store opens");
        let mut world = World::new(77);
        world.found(&store);
        let agent = world.deploy_under(&store, "crowd", &world::validated_plan(VALIDATORS));
        let worker = world.worker(&store, 10_000);
        let executions = (0..count)
            .map(|place| {
                let id = world.start(&store, agent, None);
                world.bind(&store, id, worker);
                world.turn(&store, id, 0);
                (id, World::new(1000 + place as u128))
            })
            .collect();
        Crowd { store, runtime: runtime(), executions }
    }

    /// Microseconds for each call, one after another.
    pub(crate) fn calls_alone(&mut self, count: usize) -> f64 {
        let writer = self.store.writer().clone();
        let (id, world) = &mut self.executions[0];
        let took = self.runtime.block_on(async {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let begin = Instant::now();
                call(&writer, *id, world).await;
                took += begin.elapsed();
                pass(&writer, *id, world).await;
            }
            took
        });
        took.as_secs_f64() * 1e6 / count as f64
    }

    /// Calls a second, every execution making one at a time.
    pub(crate) fn calls_at_once(&mut self, rounds: usize) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..rounds {
            took += self.all(call_owned);
            self.all(pass_owned);
        }
        (self.executions.len() * rounds) as f64 / took.as_secs_f64()
    }

    fn all<F>(&mut self, task: fn(Writer, ExecutionId, World) -> F) -> Duration
    where
        F: Future<Output = (ExecutionId, World)> + Send + 'static,
    {
        let executions = std::mem::take(&mut self.executions);
        let writer = self.store.writer().clone();
        let (executions, took) = self.runtime.block_on(async {
            let begin = Instant::now();
            let tasks = executions.into_iter().map(|(id, world)| tokio::spawn(task(writer.clone(), id, world)));
            let mut done = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                done.push(task.await.expect("the task ends"));
            }
            (done, begin.elapsed())
        });
        self.executions = executions;
        took
    }
}

fn execution(fold: &Fold) -> &Execution {
    fold.as_a().expect("it is an execution")
}

fn place(fold: &Fold) -> (u32, u32) {
    let iteration = execution(fold).iteration().expect("it runs");
    let Step::Validating { index, .. } = iteration.step else { panic!("it is not validating: {iteration:?}") };
    (iteration.number, index)
}

fn open_call(fold: &Fold) -> &Open {
    let iteration = execution(fold).iteration().expect("it runs");
    let Step::Validating { check: Check::Open { call }, .. } = &iteration.step else { panic!("{iteration:?}") };
    call
}

async fn call(writer: &Writer, id: ExecutionId, world: &mut World) {
    // The index only grows by this task's own commands, which is what the seed counts.
    let index = u32::try_from(world.passed).expect("few");
    let check = execution::Command::Check { iteration: 1, index, proposal: world.proposal() };
    let called = run(writer, Class::Interactive, id, world, check).await;
    let outcome = Outcome::Done { exit_code: Some(0) };
    let end = EndCall { outcome, ..world.end_of(open_call(&called)) };
    let after = run(writer, Class::Interactive, id, world, execution::Command::EndCall(end)).await;
    assert_eq!(place(&after), (1, index));
}

async fn pass(writer: &Writer, id: ExecutionId, world: &mut World) {
    let index = u32::try_from(world.passed).expect("few");
    let reasons = world.payload("passed");
    let finding = Finding { validator: "command".into(), pass: true, score_milli: 1000, reasons };
    run(writer, Class::Interactive, id, world, execution::Command::Validate { iteration: 1, index, finding }).await;
    world.passed += 1;
}

async fn call_owned(writer: Writer, id: ExecutionId, mut world: World) -> (ExecutionId, World) {
    call(&writer, id, &mut world).await;
    (id, world)
}

async fn pass_owned(writer: Writer, id: ExecutionId, mut world: World) -> (ExecutionId, World) {
    pass(&writer, id, &mut world).await;
    (id, world)
}

/// Steps a second (commands that move an execution) with 1 and with 256 executions.
pub(crate) fn measure(dir: &Path, rounds: usize) -> Value {
    let folder = tempfile::tempdir_in(dir).expect("a folder");
    let mut figures = serde_json::Map::new();
    for count in [1usize, 256] {
        let rates = (0..rounds.max(1)).map(|round| drive(&folder.path().join(format!("{count}-{round}")), count));
        let (rates, sizes): (Vec<f64>, Vec<f64>) = rates.unzip();
        figures.insert(format!("steps_per_s_{count}"), json!(crate::median(rates)));
        figures.insert(format!("records_a_commit_{count}"), json!(crate::median(sizes)));
    }
    figures.insert("aims".into(), json!("steps_per_s_256 >= 10000"));
    figures.into()
}

fn drive(dir: &Path, count: usize) -> (f64, f64) {
    let commits = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = Arc::clone(&commits);
    let mut options = Options::new(dir);
    options.hook = Some(Box::new(move |_| {
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }));
    let store = Store::open(options).expect("the store opens");
    let mut world = World::new(5);
    world.found(&store);
    let agent = world.deploy_under(&store, "steps", &endless());
    let worker = world.worker(&store, 10_000);
    let ids: Vec<ExecutionId> = (0..count)
        .map(|_| {
            let id = world.start(&store, agent, None);
            world.bind(&store, id, worker);
            id
        })
        .collect();
    let runtime = runtime();
    let length = Duration::from_secs(2);
    let before = world::size(&store);
    let cpu = crate::cpu_us();
    let begin = Instant::now();
    let counted = commits.load(std::sync::atomic::Ordering::Relaxed);
    let steps: u64 = runtime.block_on(async {
        let tasks: Vec<_> = ids
            .into_iter()
            .zip(0u128..)
            .map(|(id, place)| tokio::spawn(turns(store.writer().clone(), id, World::new(100 + place), begin + length)))
            .collect();
        let mut steps = 0;
        for task in tasks {
            steps += task.await.expect("the task ends");
        }
        steps
    });
    let rate = steps as f64 / begin.elapsed().as_secs_f64();
    let commits = commits.load(std::sync::atomic::Ordering::Relaxed) - counted;
    eprintln!("{count} executions: {:.1} us of processor time a step", (crate::cpu_us() - cpu) / steps as f64);
    (rate, (world::size(&store) - before) as f64 / commits as f64)
}

fn endless() -> Plan {
    let plan = world::plan();
    let limits = Limits { max_turns: u32::MAX, tokens: 1 << 50, tool_calls: u32::MAX, ..plan.limits };
    Plan { limits, ..plan }
}

async fn turns(writer: Writer, id: ExecutionId, mut world: World, until: Instant) -> u64 {
    let mut steps = 0;
    let job = move |txn: &mut Txn<'_>| Ok(txn.fold(Stream::Execution(id)));
    let mut fold = writer.write(Class::Wake, job).await.expect("a read").expect("it is read").expect("an execution");
    while Instant::now() < until {
        let proposal = world.proposal();
        let (ask, answer) = world.turn_commands(execution(&fold), vec![proposal]);
        run(&writer, Class::Wake, id, &mut world, ask).await;
        let called = run(&writer, Class::Wake, id, &mut world, answer).await;
        let end = world.end_command(execution(&called));
        fold = run(&writer, Class::Wake, id, &mut world, end).await;
        steps += 3;
    }
    steps
}

/// Makes a ledger of at least so many events, of executions of some forty events each.
pub(crate) fn fill(dir: &Path, events: u64) -> u64 {
    let store = Store::open(Options::new(dir)).expect("the store opens");
    let mut world = World::new(6);
    world.found(&store);
    let agent = world.deploy(&store, "filler");
    let bound = world.worker(&store, u32::MAX);
    let mut size = 0;
    while size < events {
        let mut own = World::new(1_000_000 + u128::from(size));
        own.now = world.now;
        world.pass(10_000);
        let job = move |txn: &mut Txn<'_>| {
            for _ in 0..20 {
                world::whole_in(txn, &mut own, agent, bound, 8)?;
            }
            Ok(txn.size())
        };
        size = store.writer().write_blocking(Class::Wake, job).expect("the commit stands");
    }
    size
}
