//! What the worker's two gates cost: a file read through a call beside a bare read, and the proxy beside a direct connection, by
//! the same program inside and outside. Prints a line of JSON for each row.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenure_core::call::{Fence, Holder};
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, LeaseId, Mint};
use tenure_core::manifest::{Host, Manifest};
use tenure_core::time::Time;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{self, FromWorker, LeasedCall, ToWorker, VERSION};
use tenure_worker::{Options, WorkerRuntime, serve};
use tokio::net::UnixStream;

const READS: usize = 500;
const BIG_BYTES: usize = 256 << 20;
const FENCE: Fence = Fence(1);

/// Asks for a small thing 300 times over one connection, then for a big one: median and 99th percentile in ms, then MB/s.
const CLIENT: &str = r#"
import http.client, os, sys, time
host, port = sys.argv[1], int(sys.argv[2])
proxied = bool(os.environ.get('http_proxy'))
connection = http.client.HTTPConnection('127.0.0.1', 3128 if proxied else port)
start = 'http://%s:%d' % (host, port) if proxied else ''
times = []
for _ in range(300):
    begun = time.perf_counter()
    connection.request('GET', start + '/small', headers={'Host': '%s:%d' % (host, port)})
    assert connection.getresponse().read() == b'ok'
    times.append(time.perf_counter() - begun)
times.sort()
begun, count = time.perf_counter(), 0
connection.request('GET', start + '/big', headers={'Host': '%s:%d' % (host, port)})
response = connection.getresponse()
while True:
    piece = response.read(1 << 20)
    if not piece:
        break
    count += len(piece)
print(times[150] * 1e3, times[297] * 1e3, count / (time.perf_counter() - begun) / 1e6)
"#;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The daemon's side of one connection.
struct Office {
    link: UnixStream,
    mint: Mint,
    agent: AgentId,
    holder: Holder,
    confinement: Confinement,
}

fn main() -> Outcome<()> {
    if std::env::args_os().next().is_some_and(|name| name.to_string_lossy().ends_with(tenure_sandbox::JAIL_NAME)) {
        tenure_sandbox::jail_main();
    }
    let folder = std::env::temp_dir().join(format!("tenure-way-out-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let server = outside()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let rows = runtime.block_on(measure(&folder, server));
    std::fs::remove_dir_all(&folder)?;
    for row in rows? {
        println!("{row}");
    }
    Ok(())
}

async fn measure(folder: &Path, server: SocketAddr) -> Outcome<Vec<Value>> {
    let options = Options {
        data_dir: folder.join("data"),
        exe: std::env::current_exe()?,
        name: "bench".to_owned(),
        slots: 1,
        mounts: Vec::new(),
    };
    let runtime = tokio::task::spawn_blocking(move || WorkerRuntime::prepare(&options)).await??;
    let (ours, theirs) = UnixStream::pair()?;
    let worker = tokio::spawn(serve(runtime, theirs));
    let mut office = Office::open(ours, server).await?;
    let file = folder.join("data/agents").join(office.agent.to_string()).join("work/file");
    office.call("filesystem.write", json!({"path": "file", "content": "x".repeat(4096)})).await?;
    let mut rows = reads(&mut office, &file).await?;
    rows.extend(requests(&mut office, server).await?);
    drop(office);
    worker.await??;
    Ok(rows)
}

async fn reads(office: &mut Office, file: &PathBuf) -> Outcome<Vec<Value>> {
    let mut bare = Vec::new();
    let mut gated = Vec::new();
    for _ in 0..READS {
        let begun = Instant::now();
        assert_eq!(std::fs::read(file)?.len(), 4096);
        bare.push(begun.elapsed());
        let begun = Instant::now();
        office.call("filesystem.read", json!({"path": "file"})).await?;
        gated.push(begun.elapsed());
    }
    Ok([("bare read of 4 KiB", bare), ("filesystem.read of 4 KiB", gated)]
        .into_iter()
        .map(|(name, mut times)| {
            times.sort();
            let at = |place: usize| times[place].as_secs_f64() * 1e3;
            json!({"row": name, "ms_p50": at(READS / 2), "ms_p99": at(READS * 99 / 100)})
        })
        .collect())
}

async fn requests(office: &mut Office, server: SocketAddr) -> Outcome<Vec<Value>> {
    let words = [server.ip().to_string(), server.port().to_string()];
    let run = json!({"command": "python3", "args": ["-c", CLIENT, words[0], words[1]]});
    let through = office.call("process.run", run).await?;
    let through = through["stdout"].as_str().unwrap_or_default().to_owned();
    let direct = tokio::task::spawn_blocking(move || {
        Command::new("/usr/bin/python3").args(["-c", CLIENT]).args(words).env_clear().output()
    });
    let direct = String::from_utf8(direct.await??.stdout)?;
    let row = |name: &str, said: &str| -> Outcome<Value> {
        let numbers: Vec<f64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [p50, p99, rate] = numbers[..] else { return Err(format!("{name} said {said:?}").into()) };
        Ok(json!({"row": name, "ms_p50": p50, "ms_p99": p99, "mb_per_s": rate}))
    };
    Ok(vec![row("direct connection", &direct)?, row("through the proxy", &through)?])
}

impl Office {
    async fn open(mut link: UnixStream, server: SocketAddr) -> Outcome<Office> {
        let text = format!(
            "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: bench}}\nspec:\n  task: {{instruction: x}}\n  security:\n    \
             network: {{mode: allow, allowlist: [\"{server}\"]}}\n    resources: {{cpu: 2000}}\n"
        );
        let manifest = Manifest::parse(&text).map_err(|problems| format!("{problems:?}"))?;
        let confinement = Confinement::of(&tenure_core::plan::Plan::compile(&manifest).sandbox, &Host::default())
            .map_err(|problem| problem.to_string())?;
        let mut mint = Mint::new(Time::from_millis(1), u128::from(std::process::id()));
        receive(&mut link).await?;
        let connection = ConnectionId::mint(&mut mint);
        frame::write(&mut link, &ToWorker::Welcome { version: VERSION, connection, fence: FENCE }).await?;
        let (agent, holder) = (AgentId::mint(&mut mint), Holder::Execution(ExecutionId::mint(&mut mint)));
        Ok(Office { link, mint, agent, holder, confinement })
    }

    async fn call(&mut self, capability: &str, arguments: Value) -> Outcome<Value> {
        let call = LeasedCall {
            lease: LeaseId::mint(&mut self.mint),
            fence: FENCE,
            call: CallId::mint(&mut self.mint),
            holder: self.holder,
            iteration: 1,
            agent: self.agent,
            capability: capability.to_owned(),
            arguments,
            path: None,
            confinement: self.confinement.clone(),
            credential: None,
            deadline_ms: 120_000,
        };
        frame::write(&mut self.link, &ToWorker::Call(Box::new(call))).await?;
        loop {
            match receive(&mut self.link).await? {
                FromWorker::Outcome(outcome) => return Ok(outcome.result),
                FromWorker::JailLost { why, .. } => return Err(why.into()),
                _ => {}
            }
        }
    }
}

async fn receive(link: &mut UnixStream) -> Outcome<FromWorker> {
    Ok(tokio::time::timeout(Duration::from_secs(180), frame::read(link)).await??)
}

/// A server on loopback with something small and something big, a thread a connection.
fn outside() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || answer(connection));
        }
    });
    Ok(address)
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let piece = vec![0; 1 << 20];
    let mut heard = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = connection.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        heard.extend_from_slice(&bytes[..count]);
        if !heard.ends_with(b"\r\n\r\n") {
            continue;
        }
        if heard.starts_with(b"GET /big") {
            write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {BIG_BYTES}\r\n\r\n")?;
            (0..BIG_BYTES / piece.len()).try_for_each(|_| connection.write_all(&piece))?;
        } else {
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
        heard.clear();
    }
}
