//! A network in memory: names with their answers, and servers at addresses. Everything that was asked of it is kept.
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenure_core::manifest::NetworkMode;
use tenure_wire::confinement::Network;
use tenure_worker::egress::EgressListener;
use tenure_worker::egress::gate::Gate;
use tenure_worker::egress::network::{Answer, HostNetwork, Stream};
use tenure_worker::egress::proxy::converse;
use tenure_worker::egress::resolver::{AgentResolver, Resolver};
use tenure_worker::egress::rules::Rules;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const PUBLIC: &str = "93.184.216.34";
const BUFFER: usize = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct World {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The answers to the first, second, … lookup; the last one stays.
    names: HashMap<String, VecDeque<Vec<IpAddr>>>,
    servers: HashMap<SocketAddr, Server>,
    lookups: Vec<String>,
    connected: Vec<SocketAddr>,
    /// Addresses of the host that the worker runs on, and those that become so by the next connection.
    own: Vec<IpAddr>,
    coming: Vec<IpAddr>,
    /// What each connection was sent, in the order in which they were made.
    heard: Vec<Arc<Mutex<Vec<u8>>>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Server {
    /// Says this after each request head (and its body of Content-Length), and stays.
    Answers(&'static str),
    /// Says the first on the first connection, the second on the next, …; the last one stays.
    AnswersInTurn(&'static [&'static str]),
    /// Says this once and ends.
    AnswersOnce(&'static str),
    /// Sends back what comes.
    Echoes,
    /// Sends so many bytes and ends.
    Floods(usize),
    Silent,
    Hangs,
}

impl World {
    pub(crate) fn new() -> Arc<World> {
        Arc::default()
    }

    /// `name` has these addresses; called again, those are the answer to the next lookup.
    pub(crate) fn name(self: &Arc<World>, name: &str, addresses: &[&str]) -> Arc<World> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.state.lock().unwrap().names.entry(name.to_owned()).or_default().push_back(addresses);
        Arc::clone(self)
    }

    pub(crate) fn server(self: &Arc<World>, at: &str, server: Server) -> Arc<World> {
        self.state.lock().unwrap().servers.insert(at.parse().unwrap(), server);
        Arc::clone(self)
    }

    /// An interface of the worker's own host has this address.
    pub(crate) fn own(self: &Arc<World>, address: &str) -> Arc<World> {
        self.state.lock().unwrap().own.push(address.parse().unwrap());
        Arc::clone(self)
    }

    /// An interface gets this address while the next connection is made.
    pub(crate) fn own_soon(self: &Arc<World>, address: &str) -> Arc<World> {
        self.state.lock().unwrap().coming.push(address.parse().unwrap());
        Arc::clone(self)
    }

    pub(crate) fn lookups(&self) -> Vec<String> {
        self.state.lock().unwrap().lookups.clone()
    }

    pub(crate) fn connected(&self) -> Vec<String> {
        self.state.lock().unwrap().connected.iter().map(ToString::to_string).collect()
    }

    /// What the connection with this number was sent.
    pub(crate) fn heard(&self, connection: usize) -> String {
        let heard = Arc::clone(&self.state.lock().unwrap().heard[connection]);
        let heard = heard.lock().unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }

    pub(crate) fn door(self: &Arc<World>, network: &Network) -> EgressListener {
        self.door_by(network, AgentResolver::alone(Arc::clone(self) as Arc<dyn HostNetwork>))
    }

    /// One jail's of an agent.
    pub(crate) fn door_by(self: &Arc<World>, network: &Network, resolver: AgentResolver) -> EgressListener {
        EgressListener::open(Rules::compile(network).unwrap(), network, resolver, None).unwrap()
    }

    /// What the jails of one worker look names up by.
    pub(crate) fn resolver(self: &Arc<World>) -> Resolver {
        Resolver::new(Arc::clone(self) as Arc<dyn HostNetwork>, 8)
    }
}

impl HostNetwork for World {
    fn resolve(&self, name: &str) -> Answer<Vec<IpAddr>> {
        let mut state = self.state.lock().unwrap();
        state.lookups.push(name.to_owned());
        if name == "slow.test" {
            return Box::pin(std::future::pending());
        }
        let answers = state.names.get_mut(name);
        let answer =
            answers.and_then(|answers| if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() });
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "no such name");
        Box::pin(std::future::ready(answer.ok_or_else(unknown)))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.state.lock().unwrap().own.contains(&address)
    }

    fn connect(&self, to: SocketAddr) -> Answer<Box<dyn Stream>> {
        let mut state = self.state.lock().unwrap();
        state.connected.push(to);
        let coming = std::mem::take(&mut state.coming);
        state.own.extend(coming);
        let server = match state.servers.get(&to).cloned() {
            Some(Server::Hangs) => return Box::pin(std::future::pending()),
            None => {
                return Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())));
            }
            Some(Server::AnswersInTurn(answers)) => {
                let before = state.connected.iter().filter(|at| **at == to).count() - 1;
                Server::Answers(answers[before.min(answers.len() - 1)])
            }
            Some(server) => server,
        };
        let (near, far) = tokio::io::duplex(BUFFER);
        let heard = Arc::default();
        state.heard.push(Arc::clone(&heard));
        tokio::spawn(serve(far, server, heard));
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)))
    }
}

async fn serve(mut stream: DuplexStream, server: Server, heard: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = vec![0; BUFFER];
    if let Server::Floods(count) = server {
        let _ = stream.write_all(&vec![b'x'; count]).await;
        return;
    }
    let mut answered = 0;
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        heard.lock().unwrap().extend_from_slice(&bytes[..count]);
        match server {
            Server::Answers(answer) | Server::AnswersOnce(answer) => {
                let requests = requests(&heard.lock().unwrap());
                for _ in answered..requests {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                answered = requests;
                if matches!(server, Server::AnswersOnce(_)) && answered > 0 {
                    return;
                }
            }
            Server::Echoes => drop(stream.write_all(&bytes[..count]).await),
            Server::Silent | Server::Floods(_) | Server::Hangs | Server::AnswersInTurn(_) => {}
        }
    }
}

/// How many whole requests these are.
fn requests(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let mut rest = &bytes[end + 4..];
        if head.contains("transfer-encoding: chunked") {
            let Some(end) = rest.windows(5).position(|five| five == b"0\r\n\r\n") else { return count };
            rest = &rest[end + 5..];
        } else if let Some((_, length)) = head.split_once("content-length: ") {
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if rest.len() < length {
                return count;
            }
            rest = &rest[length..];
        }
        bytes = rest;
        count += 1;
    }
    count
}

pub(crate) fn network(mode: NetworkMode, allow: &[&str], block: &[&str]) -> Network {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    Network { mode, allow: owned(allow), block: owned(block), connections_max: 64, bandwidth: None }
}

/// Only what is listed.
pub(crate) fn allow(list: &[&str]) -> Network {
    network(NetworkMode::Allow, list, &[])
}

/// A program's connection to the proxy.
pub(crate) fn dial(gate: &Gate) -> DuplexStream {
    let (near, far) = tokio::io::duplex(BUFFER);
    let gate = gate.clone();
    tokio::spawn(async move { converse(far, &gate).await });
    near
}

/// Says `bytes` to the proxy and hears it out. With paused time, what waits is over at once.
pub(crate) async fn say(gate: &Gate, bytes: impl AsRef<[u8]>) -> String {
    let mut program = dial(gate);
    program.write_all(bytes.as_ref()).await.unwrap();
    hear(&mut program).await
}

pub(crate) async fn hear(program: &mut DuplexStream) -> String {
    let mut heard = Vec::new();
    let hearing = program.read_to_end(&mut heard);
    tokio::time::timeout(Duration::from_secs(3600), hearing).await.expect("the proxy ends it").unwrap();
    String::from_utf8_lossy(&heard).into_owned()
}

/// Reads until what came ends like this.
pub(crate) async fn hear_until(program: &mut DuplexStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let byte = tokio::time::timeout(Duration::from_secs(3600), program.read_u8()).await;
        match byte.expect("more comes") {
            Ok(byte) => heard.push(byte),
            Err(_) => panic!("it ended after {:?}", String::from_utf8_lossy(&heard)),
        }
    }
    String::from_utf8_lossy(&heard).into_owned()
}
