//! Holds all that is listened on against each other: `web.listen`, `listen` and `port` of the services.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::config::diagnose::Faults;
use crate::config::document::Place;
use crate::config::resolve::checks::Sighting;
use crate::model::plan::{ListenAddress, ServicePlan, WebPlan};

/// Who has an address, and where that stands.
#[derive(Clone, Debug)]
struct Owner {
    who: String,
    place: Place,
}

#[derive(Debug, Default)]
struct Taken<'p> {
    /// Ports of instances; on which interface they listen nobody here knows.
    ports: BTreeMap<u16, Owner>,
    sockets: BTreeMap<(u16, IpAddr), Owner>,
    paths: BTreeMap<&'p Path, Owner>,
}

/// Refuses what two would listen on.
pub(super) fn check(
    services: &[Arc<ServicePlan>],
    sightings: &[Sighting],
    web: Option<&(WebPlan, Place)>,
    source: &str,
    faults: &mut Faults,
) {
    let mut taken = Taken::default();
    if let Some((plan, place)) = web
        && let Some(listen) = plan.listen
    {
        taken.sockets.insert((listen.port(), listen.ip()), Owner { who: "`web.listen`".to_owned(), place: *place });
    }
    for (plan, sighting) in services.iter().zip(sightings) {
        for (socket, place) in plan.listen.iter().zip(&sighting.listen) {
            let owner = Owner { who: format!("`listen.{}` of `{}`", socket.name, plan.name), place: *place };
            let before = match &socket.address {
                ListenAddress::Tcp(address) => taken.socket(*address, owner),
                ListenAddress::Unix(path) => taken.path(path, owner),
            };
            if let Some(before) = before {
                before.refuse(*place, &socket.address.to_string(), source, faults);
            }
        }
        if let (Some(first), Some(place)) = (plan.port, sighting.port) {
            ports(plan, first, place, &mut taken, source, faults);
        }
    }
}

/// Each instance has a port of its own.
fn ports(plan: &ServicePlan, first: u16, place: Place, taken: &mut Taken<'_>, source: &str, faults: &mut Faults) {
    let last = u32::from(first) + plan.instances.max(1) - 1;
    let Ok(last) = u16::try_from(last) else {
        faults.add_with(
            place,
            format!("instance {} would get port {last}, and ports end at 65535", plan.instances),
            format!("the first port can be at most {}", 65_536_u32.saturating_sub(plan.instances)),
        );
        return;
    };
    if let Some((port, before)) = taken.port_within(first, last) {
        let which = if plan.instances > 1 { format!(" ({first} to {last})") } else { String::new() };
        before.refuse(place, &format!("port {port}{which}"), source, faults);
        return;
    }
    let owner = Owner { who: format!("`{}`", plan.name), place };
    taken.ports.extend((first..=last).map(|port| (port, owner.clone())));
}

impl Owner {
    fn refuse(&self, place: Place, what: &str, source: &str, faults: &mut Faults) {
        let line = source.get(..self.place.start).unwrap_or(source).matches('\n').count() + 1;
        let message = format!("{what} is taken by {} already", self.who);
        faults.add_with(place, message, format!("it stands on line {line}"));
    }
}

impl<'p> Taken<'p> {
    /// Takes an address, or says who has it.
    fn socket(&mut self, address: SocketAddr, owner: Owner) -> Option<Owner> {
        let (port, ip) = (address.port(), address.ip());
        let (lowest, highest): (IpAddr, IpAddr) = match ip {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into()),
        };
        // The address of every interface, which is the lowest, stands in the way of all others of its family.
        let within = if ip == lowest { (port, lowest)..=(port, highest) } else { (port, ip)..=(port, ip) };
        let before = self.sockets.range(within).next().map(|(_, owner)| owner);
        let before = before.or_else(|| self.sockets.get(&(port, lowest))).or_else(|| self.ports.get(&port)).cloned();
        if before.is_none() {
            self.sockets.insert((port, ip), owner);
        }
        before
    }

    /// Takes the path of a unix socket, or says who has it.
    fn path(&mut self, path: &'p Path, owner: Owner) -> Option<Owner> {
        let before = self.paths.get(path).cloned();
        if before.is_none() {
            self.paths.insert(path, owner);
        }
        before
    }

    /// The first port of a range that somebody has, whatever the interface.
    fn port_within(&self, first: u16, last: u16) -> Option<(u16, Owner)> {
        let lowest = (first, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let socket = self.sockets.range(lowest..).next().map(|((port, _), owner)| (*port, owner));
        let port = self.ports.range(first..=last).next().map(|(port, owner)| (*port, owner));
        socket
            .filter(|(port, _)| *port <= last)
            .into_iter()
            .chain(port)
            .min_by_key(|(port, _)| *port)
            .map(|(port, owner)| (port, owner.clone()))
    }
}
