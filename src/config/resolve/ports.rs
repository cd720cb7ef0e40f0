//! Holds all that is listened on against each other: `web.listen`, `listen` and `port` of the services.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::config::diagnose::Faults;
use crate::config::document::Place;
use crate::config::resolve::checks::Sighting;
use crate::model::names::ServiceName;
use crate::model::plan::{ListenAddress, ServicePlan, WebPlan};

/// Who has an address, and where that stands.
#[derive(Clone, Debug)]
struct Owner<'p> {
    who: String,
    /// None: everup itself.
    service: Option<&'p ServiceName>,
    place: Place,
}

#[derive(Debug, Default)]
struct Taken<'p> {
    /// Ports of instances; on which interface they listen nobody here knows.
    ports: BTreeMap<u16, Owner<'p>>,
    sockets: BTreeMap<(u16, IpAddr), Owner<'p>>,
    paths: BTreeMap<&'p Path, Owner<'p>>,
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
        let owner = Owner { who: "`web.listen`".to_owned(), service: None, place: *place };
        taken.sockets.insert((listen.port(), listen.ip()), owner);
    }
    for (plan, sighting) in services.iter().zip(sightings) {
        for (socket, place) in plan.listen.iter().zip(&sighting.listen) {
            let who = format!("`listen.{}` of `{}`", socket.name, plan.name);
            let owner = Owner { who, service: Some(&plan.name), place: *place };
            let before = match &socket.address {
                ListenAddress::Tcp(address) => taken.socket(*address, owner),
                ListenAddress::Unix(path) => taken.path(path, owner),
            };
            if let Some(before) = before {
                before.refuse(*place, &socket.address.to_string(), source, faults);
            }
        }
        if let (Some(first), Some(place)) = (plan.port, sighting.port) {
            let owner = Owner { who: format!("`{}`", plan.name), service: Some(&plan.name), place };
            ports(plan, first, &owner, None, &mut taken, source, faults);
        }
    }
    // Last, so that whatever else is listened on is known: a service may serve its metrics on any of its own ports.
    for (plan, sighting) in services.iter().zip(sightings) {
        if let (Some(metrics), Some(place)) = (&plan.metrics, sighting.metrics) {
            let owner = Owner { who: format!("`metrics` of `{}`", plan.name), service: Some(&plan.name), place };
            ports(plan, metrics.port, &owner, Some(&plan.name), &mut taken, source, faults);
        }
    }
}

/// Each instance has a port of its own. `friend`: whose addresses do not stand in the way.
fn ports<'p>(
    plan: &'p ServicePlan,
    first: u16,
    owner: &Owner<'p>,
    friend: Option<&ServiceName>,
    taken: &mut Taken<'p>,
    source: &str,
    faults: &mut Faults,
) {
    let place = owner.place;
    let last = u32::from(first) + plan.instances.max(1) - 1;
    let Ok(last) = u16::try_from(last) else {
        faults.add_with(
            place,
            format!("instance {} would get port {last}, and ports end at 65535", plan.instances),
            format!("the first port can be at most {}", 65_536_u32.saturating_sub(plan.instances)),
        );
        return;
    };
    if let Some((port, before)) = taken.port_within(first, last, friend) {
        let which = if plan.instances > 1 { format!(" ({first} to {last})") } else { String::new() };
        before.refuse(place, &format!("port {port}{which}"), source, faults);
        return;
    }
    taken.ports.extend((first..=last).map(|port| (port, owner.clone())));
}

impl Owner<'_> {
    fn refuse(&self, place: Place, what: &str, source: &str, faults: &mut Faults) {
        let line = source.get(..self.place.start).unwrap_or(source).matches('\n').count() + 1;
        let message = format!("{what} is taken by {} already", self.who);
        faults.add_with(place, message, format!("it stands on line {line}"));
    }
}

impl<'p> Taken<'p> {
    /// Takes an address, or says who has it.
    fn socket(&mut self, address: SocketAddr, owner: Owner<'p>) -> Option<Owner<'p>> {
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
    fn path(&mut self, path: &'p Path, owner: Owner<'p>) -> Option<Owner<'p>> {
        let before = self.paths.get(path).cloned();
        if before.is_none() {
            self.paths.insert(path, owner);
        }
        before
    }

    /// The first port of a range that somebody but `friend` has, whatever the interface.
    fn port_within(&self, first: u16, last: u16, friend: Option<&ServiceName>) -> Option<(u16, Owner<'p>)> {
        let lowest = (first, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let sockets = self.sockets.range(lowest..).map(|((port, _), owner)| (*port, owner));
        let ports = self.ports.range(first..=last).map(|(port, owner)| (*port, owner));
        let stranger = |(_, owner): &(u16, &Owner<'p>)| friend.is_none() || owner.service != friend;
        let socket = sockets.take_while(|(port, _)| *port <= last).find(stranger);
        socket
            .into_iter()
            .chain(ports.into_iter().find(stranger))
            .min_by_key(|(port, _)| *port)
            .map(|(port, owner)| (port, owner.clone()))
    }
}
