//! Name look-ups of providers. The system's resolver blocks for as long as it likes, so each look-up has a thread of its
//! own and never one of the runtime's: an outage of names must not stop whatever else needs those.
//!
//! Bounded in number and in the time that a caller waits; callers of the same name share one look-up.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;
use tokio::time::timeout;

/// Look-ups at once, each of another name.
const LOOKUPS_MAX: usize = 8;
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are kept.
const ADDRESSES_MAX: usize = 32;
/// The host's resolver runs its own modules on it.
const STACK_BYTES: usize = 512 << 10;

type Addresses = Result<Vec<SocketAddr>, String>;
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

#[derive(Clone)]
pub(super) struct Lookups(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    /// Held for microseconds, never across an await.
    running: Mutex<HashMap<String, watch::Receiver<Option<Addresses>>>>,
}

impl Lookups {
    /// By the host's own resolver.
    pub(super) fn system() -> Lookups {
        Lookups::by(|name| Ok((name, 0).to_socket_addrs()?.take(ADDRESSES_MAX).collect()))
    }

    fn by(lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Lookups {
        Lookups(Arc::new(Shared { lookup: Box::new(lookup), running: Mutex::default() }))
    }

    async fn addresses(&self, name: &str) -> Addresses {
        let mut running = self.0.join(name)?;
        match timeout(LOOKUP_TIMEOUT, running.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone().unwrap_or_else(|| Err(ended(name))),
            Ok(Err(_)) => Err(ended(name)),
            Err(_) => Err(format!("the name {name} was not resolved within {} s", LOOKUP_TIMEOUT.as_secs())),
        }
    }
}

fn ended(name: &str) -> String {
    format!("the look-up of the name {name} ended without an answer")
}

impl Shared {
    /// The look-up of this name, begun if there is none.
    fn join(self: &Arc<Shared>, name: &str) -> Result<watch::Receiver<Option<Addresses>>, String> {
        let mut running = self.running();
        if let Some(lookup) = running.get(name) {
            return Ok(lookup.clone());
        }
        if running.len() >= LOOKUPS_MAX {
            return Err(format!("the host's resolver answers none of {LOOKUPS_MAX} look-ups"));
        }
        let (answer, answered) = watch::channel(None);
        let (shared, wanted) = (Arc::clone(self), name.to_owned());
        let look_up = move || {
            let found = (shared.lookup)(&wanted).map_err(|error| error.to_string());
            shared.running().remove(&wanted);
            answer.send_replace(Some(found));
        };
        let thread = std::thread::Builder::new().name("lookup".to_owned()).stack_size(STACK_BYTES).spawn(look_up);
        thread.map_err(|error| format!("no thread starts for a look-up: {error}"))?;
        running.insert(name.to_owned(), answered.clone());
        Ok(answered)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Addresses>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolve for Lookups {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = self.clone();
        Box::pin(async move {
            let found = lookups.addresses(name.as_str()).await.map_err(io::Error::other)?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tenure_store::{Options, Store};
    use tokio::runtime::Builder;

    /// A resolver that answers nothing until the returned sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, Lookups) {
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let lookups = Lookups::by(move |_| {
            let _ = hang.lock().unwrap().recv();
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
        });
        (release, lookups)
    }

    fn client(lookups: &Lookups) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(lookups.clone())).build().unwrap()
    }

    #[test]
    fn lookups_that_hang_stop_neither_reads_nor_the_runtimes_blocking_threads_and_end_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(folder.path())).unwrap();
        let (release, lookups) = hanging();
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let client = client(&lookups);
            let asked = (0..128).map(|number| {
                let (client, name) = (client.clone(), format!("http://m{}.invalid/", number % (LOOKUPS_MAX + 2)));
                tokio::spawn(async move { client.get(name).send().await })
            });
            let asked: Vec<_> = asked.collect();
            while lookups.0.running().len() < LOOKUPS_MAX {
                tokio::task::yield_now().await;
            }
            assert_eq!(store.reader().read(|_| Ok(7)).await.unwrap(), 7);
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
            for call in asked {
                let error = call.await.unwrap().unwrap_err();
                assert!(error.is_connect(), "{error:?}");
            }
            assert_eq!(lookups.0.running().len(), LOOKUPS_MAX, "no call began a look-up that was running already");
        });
        drop(release);
    }

    #[tokio::test]
    async fn callers_of_one_name_share_a_lookup_and_the_next_call_looks_anew() {
        let (release, lookups) = hanging();
        let both = tokio::join!(lookups.addresses("a.invalid"), lookups.addresses("a.invalid"), async {
            assert_eq!(lookups.0.running().len(), 1);
            drop(release);
        });
        assert_eq!((both.0.unwrap().len(), both.1.unwrap().len()), (1, 1));
        assert!(lookups.0.running().is_empty());
        assert!(Lookups::system().addresses("localhost").await.unwrap().iter().all(|at| at.ip().is_loopback()));
    }
}
