//! The listening sockets of services: opened before the first run, kept through restarts and backoff, closed when a
//! person stops the service.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use crate::daemon::processes::Processes;
use crate::guardian::protocol::SocketKey;
use crate::model::names::ServiceName;
use crate::model::plan::{ListenAddress, Plan, ServicePlan};
use crate::os::listen::{ListenError, Listener};

/// Permission bits of a unix socket: who can reach its folder may connect, less what the service's `umask` takes away.
const MODE: u32 = 0o666;

/// All that are open. The guardian holds each of them, too.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_service: BTreeMap<ServiceName, Vec<Held>>,
}

#[derive(Debug)]
struct Held {
    key: SocketKey,
    listener: Listener,
}

impl Listeners {
    /// Opens what a service lists and is not open yet, or no longer reachable, and closes what it lists no more. Returns
    /// the sockets in the order of the list.
    ///
    /// # Errors
    /// The first that cannot be opened. What has been open stays so.
    pub(super) fn ensure(&mut self, plan: &ServicePlan, processes: &Processes) -> Result<Vec<SocketKey>, ListenError> {
        let mut before = self.by_service.remove(&plan.name).unwrap_or_default();
        let mut now = Vec::with_capacity(plan.listen.len());
        for wanted in &plan.listen {
            let kept = before.iter().position(|held| held.is_at(&wanted.address) && held.listener.is_reachable());
            let held = match kept {
                Some(place) => Ok(before.swap_remove(place)),
                None => open(&wanted.address, plan, &before, processes),
            };
            match held {
                Ok(held) => now.push(held),
                Err(error) => {
                    now.extend(before);
                    self.by_service.insert(plan.name.clone(), now);
                    return Err(error);
                }
            }
        }
        for held in before {
            processes.release(held.key);
        }
        if !now.is_empty() && !processes.any_of(&plan.name) {
            for held in &now {
                // A socket that does not is still better than none.
                let _ = held.listener.make_blocking();
            }
        }
        let keys = now.iter().map(|held| held.key).collect();
        if !now.is_empty() {
            self.by_service.insert(plan.name.clone(), now);
        }
        Ok(keys)
    }

    /// Whether the sockets can be had that `plan` lists and `running` does not: opens and closes them, but where something
    /// of ours listens. What is not new fails, if it does, its service alone.
    ///
    /// # Errors
    /// The first that cannot be opened.
    pub(super) fn rehearse(&self, plan: &Plan, running: &Plan) -> Result<(), ListenError> {
        let known: Vec<&ListenAddress> = addresses(running).collect();
        let held: Vec<&ListenAddress> =
            self.by_service.values().flatten().map(|held| held.listener.address()).collect();
        for wanted in addresses(plan).filter(|wanted| !known.contains(wanted)) {
            if !held.iter().any(|ours| is_in_the_way(ours, wanted)) {
                Listener::open(wanted, MODE)?;
            }
        }
        Ok(())
    }

    /// Goes on with sockets that an earlier engine has opened.
    pub(super) fn recall(&mut self, service: ServiceName, sockets: Vec<(SocketKey, Listener)>) {
        let held = sockets.into_iter().map(|(key, listener)| Held { key, listener });
        self.by_service.insert(service, held.collect());
    }

    /// Lets the guardian hold all of them under the names they have.
    pub(super) fn hold(&self, processes: &Processes) {
        for held in self.by_service.values().flatten() {
            processes.hold_as(held.key, held.listener.as_fd());
        }
    }

    /// The sockets of a service, each with where it listens.
    pub(super) fn of(&self, service: &ServiceName) -> Vec<(SocketKey, ListenAddress)> {
        let held = self.by_service.get(service).into_iter().flatten();
        held.map(|held| (held.key, held.listener.address().clone())).collect()
    }

    /// Closes all sockets of a service.
    pub(super) fn close(&mut self, service: &ServiceName, processes: &Processes) {
        for held in self.by_service.remove(service).unwrap_or_default() {
            processes.release(held.key);
        }
    }
}

fn open(
    address: &ListenAddress,
    plan: &ServicePlan,
    before: &[Held],
    processes: &Processes,
) -> Result<Held, ListenError> {
    let mode = MODE & !plan.umask.unwrap_or(0);
    let listener = match Listener::open(address, mode) {
        Err(error) if error.is_taken() && make_way(address, plan, before) => Listener::open(address, mode)?,
        opened => opened?,
    };
    let key = processes.hold(listener.as_fd());
    Ok(Held { key, listener })
}

/// Where the services that are to be started listen.
fn addresses(plan: &Plan) -> impl Iterator<Item = &ListenAddress> {
    let enabled = plan.services.iter().filter(|service| service.enabled);
    enabled.flat_map(|service| &service.listen).map(|listen| &listen.address)
}

/// Whether one address cannot be had while somebody listens at the other: TCP counts by its port.
fn is_in_the_way(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => one.port() == other.port(),
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one == other,
        (ListenAddress::Tcp(_), ListenAddress::Unix(_)) | (ListenAddress::Unix(_), ListenAddress::Tcp(_)) => false,
    }
}

impl Held {
    fn is_at(&self, address: &ListenAddress) -> bool {
        self.listener.address() == address
    }
}

/// Silences our own sockets that are no longer listed and have the same port: `127.0.0.1:80` stands in the way of
/// `0.0.0.0:80`. Whether there was one.
fn make_way(address: &ListenAddress, plan: &ServicePlan, before: &[Held]) -> bool {
    let mut found = false;
    for held in before {
        let same_port = match (address, held.listener.address()) {
            (ListenAddress::Tcp(new), ListenAddress::Tcp(old)) => new.port() == old.port(),
            (ListenAddress::Tcp(_) | ListenAddress::Unix(_), _) => false,
        };
        if same_port && !plan.listen.iter().any(|wanted| held.is_at(&wanted.address)) {
            held.listener.silence();
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;
    use crate::core::instance::tests::service;
    use crate::daemon::processes::{Owner, Running};
    use crate::guardian::link::Link;
    use crate::guardian::protocol::{self, StdioSpec, ToGuardian};
    use crate::model::names::{InstanceId, Run};
    use crate::model::plan::ListenPlan;
    use crate::os::spawn::SpawnSpec;
    use crate::os::{readiness, seqpacket};

    /// What the guardian would hold.
    struct Bench {
        processes: Processes,
        guardian: OwnedFd,
        listeners: Listeners,
        held: BTreeMap<SocketKey, OwnedFd>,
    }

    impl Bench {
        /// Opens what a plan with these addresses lists; the guardian has taken note.
        fn ensure(&mut self, addresses: &[&str]) -> Result<Vec<SocketKey>, ListenError> {
            let keys = self.listeners.ensure(&listening(addresses), &self.processes);
            self.take_note();
            if let Ok(keys) = &keys {
                assert!(keys.iter().all(|key| self.held.contains_key(key)));
                assert_eq!(self.held.len(), keys.len(), "nothing else is held");
            }
            keys
        }

        fn take_note(&mut self) {
            let mut buffer = [0; 4096];
            while let Ok((message, fds)) = protocol::receive(self.guardian.as_fd(), &mut buffer) {
                match message {
                    ToGuardian::Hold { key } => self.held.extend(fds.into_iter().map(|fd| (key, fd))),
                    ToGuardian::Release { key } => assert!(self.held.remove(&key).is_some()),
                    ToGuardian::Spawn { .. }
                    | ToGuardian::Signal { .. }
                    | ToGuardian::EndTree { .. }
                    | ToGuardian::Forget { .. }
                    | ToGuardian::Adopt { .. }
                    | ToGuardian::Sweep { .. }
                    | ToGuardian::LeaveNothing
                    | ToGuardian::Remember
                    | ToGuardian::Suspend { .. }
                    | ToGuardian::Announce { .. }
                    | ToGuardian::Upgrade { .. }
                    | ToGuardian::Quit { .. } => {}
                }
            }
        }
    }

    fn with_bench(test: impl FnOnce(&mut Bench)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, guardian) = seqpacket::pair().unwrap();
            let processes = Processes::new(readiness::readable(Link::over(ours)).unwrap());
            test(&mut Bench { processes, guardian, listeners: Listeners::default(), held: BTreeMap::new() });
        });
    }

    fn listening(addresses: &[&str]) -> ServicePlan {
        let listen = (0..).zip(addresses).map(|(number, text)| {
            let address = match text.strip_prefix("unix:") {
                Some(path) => ListenAddress::Unix(path.into()),
                None => ListenAddress::Tcp(text.parse().unwrap()),
            };
            ListenPlan { name: format!("n{number}"), address }
        });
        service("web", |plan| plan.listen = listen.collect())
    }

    /// An address that was free a moment ago, where nothing else of this machine connects from.
    fn free() -> String {
        TcpListener::bind("127.9.9.9:0").unwrap().local_addr().unwrap().to_string()
    }

    #[test]
    fn sockets_are_opened_once_and_kept_until_they_are_closed() {
        with_bench(|bench| {
            let (one, other) = (free(), free());
            let first = bench.ensure(&[&one, &other]).unwrap();
            assert_eq!(first.len(), 2);
            assert_eq!(bench.ensure(&[&one, &other]).unwrap(), first);
            assert_eq!(bench.ensure(&[&other, &one]).unwrap(), [first[1], first[0]], "in the order of the list");
            let waiting = TcpStream::connect(&one).unwrap();
            bench.listeners.close(&listening(&[]).name, &bench.processes);
            bench.take_note();
            assert!(bench.held.is_empty());
            assert!(TcpStream::connect(&one).is_err());
            drop(waiting);
            let again = bench.ensure(&[&one]).unwrap();
            assert!(!first.contains(&again[0]), "a key is never used twice");
        });
    }

    #[test]
    fn a_changed_address_is_opened_before_the_old_one_is_closed() {
        with_bench(|bench| {
            let (old, new) = (free(), free());
            let first = bench.ensure(&[&old]).unwrap();
            let taken = TcpListener::bind(&new).unwrap();
            let error = bench.ensure(&[&new]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("cannot listen on {new}: ")), "{error}");
            assert!(TcpStream::connect(&old).is_ok(), "the old one stays when the new one cannot be had");
            assert_eq!(bench.held.keys().copied().collect::<Vec<_>>(), first);
            drop(taken);
            let second = bench.ensure(&[&new]).unwrap();
            assert_ne!(first, second);
            assert!(TcpStream::connect(&old).is_err() && TcpStream::connect(&new).is_ok());
            assert_eq!(bench.ensure(&[]).unwrap(), []);
            assert!(TcpStream::connect(&new).is_err());
        });
    }

    #[test]
    fn an_address_makes_way_for_a_wider_one_on_its_port() {
        with_bench(|bench| {
            let narrow = free();
            let wide = narrow.replace("127.9.9.9", "0.0.0.0");
            let first = bench.ensure(&[&narrow]).unwrap();
            assert!(bench.ensure(&[&wide, &narrow]).is_err(), "but not where both are listed");
            assert_eq!(bench.ensure(&[&narrow]).unwrap(), first, "it is as it was");
            let second = bench.ensure(&[&wide]).unwrap();
            assert_eq!(bench.ensure(&[&wide]).unwrap(), second);
            assert!(TcpStream::connect(&narrow).is_ok());
        });
    }

    #[test]
    fn a_socket_that_cannot_be_reached_any_more_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let (unix, tcp) = (format!("unix:{}", path.display()), free());
        with_bench(|bench| {
            let first = bench.ensure(&[&unix, &tcp]).unwrap();
            std::fs::remove_file(&path).unwrap();
            let second = bench.ensure(&[&unix, &tcp]).unwrap();
            assert_eq!((first[1], first[0] == second[0]), (second[1], false));
            assert!(crate::os::socket::connect_unix(&path).is_ok());
            for held in bench.listeners.by_service.values().flatten() {
                held.listener.silence();
            }
            let third = bench.ensure(&[&unix, &tcp]).unwrap();
            assert!(third.iter().all(|key| !second.contains(key)));
            assert!(TcpStream::connect(&tcp).is_ok() && crate::os::socket::connect_unix(&path).is_ok());
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "precious").unwrap();
            let error = bench.ensure(&[&unix, &tcp]).unwrap_err();
            assert!(error.to_string().contains("is not a socket"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_program_finds_its_socket_blocking_unless_a_sibling_uses_it() {
        with_bench(|bench| {
            let address = free();
            let key = bench.ensure(&[&address]).unwrap()[0];
            let flags = |bench: &Bench| OFlag::from_bits_retain(fcntl(&bench.held[&key], FcntlArg::F_GETFL).unwrap());
            // As a program does that waits by other means.
            let changed = flags(bench) | OFlag::O_NONBLOCK;
            fcntl(&bench.held[&key], FcntlArg::F_SETFL(changed)).unwrap();
            let instance = InstanceId { service: listening(&[]).name, index: 1 };
            let owner = Owner::Run(Running::new(instance, Run(1)));
            let spec = SpawnSpec::new::<&str, &str, &str>(Path::new("/x"), [], [], Path::new("/")).unwrap();
            let token = bench.processes.spawn(owner, String::new(), spec, [StdioSpec::Null; 3], &[], vec![key]);
            bench.ensure(&[&address]).unwrap();
            assert_eq!(flags(bench), changed);
            bench.processes.forget(token);
            bench.ensure(&[&address]).unwrap();
            assert_eq!(flags(bench), changed & !OFlag::O_NONBLOCK);
        });
    }
}
