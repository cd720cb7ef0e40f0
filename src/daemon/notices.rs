//! NOTIFY_SOCKET: one socket per instance that needs it; what a stranger sends is dropped.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::core::event::{Event, Notice};
use crate::daemon::engine::Engine;
use crate::daemon::news::News;
use crate::daemon::processes::Processes;
use crate::guardian::protocol::SocketKey;
use crate::model::names::{InstanceId, Pid};
use crate::os::notify::{Message, NotifySocket};

/// The sockets that are open, with the tasks that listen on them.
#[derive(Debug, Default)]
pub(super) struct Notices(BTreeMap<InstanceId, Heard>);

/// One of them.
#[derive(Debug)]
struct Heard {
    key: SocketKey,
    socket: Rc<AsyncFd<NotifySocket>>,
    task: AbortHandle,
}

impl Notices {
    /// Lets the guardian hold them, too.
    pub(super) fn hold(&self, processes: &Processes) {
        for heard in self.0.values() {
            processes.hold_as(heard.key, heard.socket.get_ref().as_fd());
        }
    }
}

impl Engine {
    /// The address to put into NOTIFY_SOCKET; opens the socket at first use. None when the kernel refuses it.
    pub(super) fn notify_name(&mut self, instance: &InstanceId) -> Option<String> {
        if let Some(heard) = self.notices.0.get(instance) {
            return Some(heard.socket.get_ref().address().to_owned());
        }
        let socket = NotifySocket::bind(&instance.file_stem())
            .map_err(|error| tracing::error!(%instance, %error, "cannot open a notify socket"))
            .ok()?;
        self.notify_from(instance, socket)
    }

    /// Hears what an instance says on a socket of ours; the socket's address.
    pub(super) fn notify_from(&mut self, instance: &InstanceId, socket: NotifySocket) -> Option<String> {
        let key = self.processes.hold(socket.as_fd());
        self.listen_to(instance, key, socket)
    }

    /// As [`Self::notify_from`], on one that the guardian holds under this name.
    pub(super) fn listen_to(&mut self, instance: &InstanceId, key: SocketKey, socket: NotifySocket) -> Option<String> {
        let name = socket.address().to_owned();
        self.publisher.ledger.hears(instance, key, &name);
        let socket = Rc::new(crate::os::readiness::readable(socket).ok()?);
        let theirs = socket.clone();
        let (inbox, whose) = (self.inbox.clone(), instance.clone());
        let task = tokio::task::spawn_local(async move {
            while let Ok(mut ready) = theirs.readable().await {
                match theirs.get_ref().recv() {
                    Ok(Some((sender, bytes))) => {
                        let news = News::Notify { instance: whose.clone(), sender, bytes };
                        if inbox.send(news).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => ready.clear_ready(),
                    Err(error) => {
                        tracing::warn!(instance = %whose, %error, "cannot read the notify socket");
                        ready.clear_ready();
                    }
                }
            }
        });
        let heard = Heard { key, socket, task: task.abort_handle() };
        if let Some(before) = self.notices.0.insert(instance.clone(), heard) {
            before.task.abort();
        }
        Some(name)
    }

    /// A datagram came: its sender must belong to the tree of the run that lives.
    pub(super) fn notified(&mut self, instance: &InstanceId, sender: Pid, bytes: &[u8]) -> Option<Event> {
        let running = self.processes.running_of(instance)?;
        let main = running.pid?;
        if !belongs(sender, main, running.cgroup.as_deref()) {
            tracing::warn!(%instance, %sender, "dropped a notification: its sender is not of this service");
            return None;
        }
        let run = running.run;
        let mut events: Vec<Event> = crate::os::notify::parse(bytes)
            .into_iter()
            .filter_map(notice)
            .map(|notice| Event::Notified { instance: instance.clone(), run, notice })
            .collect();
        let last = events.pop();
        if !events.is_empty() {
            self.advance(events);
        }
        last
    }
}

fn belongs(sender: Pid, main: Pid, cgroup: Option<&std::path::Path>) -> bool {
    if sender == main {
        return true;
    }
    match cgroup {
        Some(path) => crate::os::cgroup::procs(path).is_ok_and(|all| all.contains(&sender)),
        None => crate::os::tree::descendants(main, &|_| false).contains(&sender),
    }
}

fn notice(message: Message) -> Option<Notice> {
    match message {
        Message::Ready => Some(Notice::Ready),
        Message::Watchdog => Some(Notice::Watchdog),
        Message::WatchdogTrigger => Some(Notice::WatchdogTrigger),
        Message::ExtendTimeout(by) => Some(Notice::Extend(by)),
        Message::Status(text) => Some(Notice::Status(text)),
        Message::Stopping => Some(Notice::Stopping),
        Message::Reloading | Message::MainPid(_) | Message::Other => None,
    }
}
