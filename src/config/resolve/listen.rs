//! `listen:` of a service, and every address that is listened on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::config::decode::{Decoder, Fields, join};
use crate::config::document::{Place, Scalar, Value, short};
use crate::config::shape::{FromScalar, Misfit, Shape};
use crate::model::plan::{ListenAddress, ListenPlan};

/// The longest name of a socket, in bytes (sd_listen_fds_with_names(3)).
const MAX_NAME: usize = 255;
/// How many sockets one service may have: they travel in one message, which takes 253 at most.
const MAX_SOCKETS: usize = 64;

/// The names of a service's sockets as they are written.
pub(super) fn names(service: &Fields<'_>) -> Vec<String> {
    match service.get("listen").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        Some(Value::Scalar(_) | Value::List(_)) | None => vec![],
    }
}

/// The sockets held for a service, and where each address stands.
pub(super) fn listen(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> (Vec<ListenPlan>, Vec<Place>) {
    let Some(node) = service.get("listen") else { return (vec![], vec![]) };
    if let Value::Scalar(scalar) = &node.value {
        let message = format!("expected sockets by name, found {}", node.describe());
        decoder.faults.add_with(node.place, message, format!("give it a name: {{http: {}}}", short(&scalar.text)));
        return (vec![], vec![]);
    }
    let entries = decoder.entries(service, "listen");
    if entries.len() > MAX_SOCKETS {
        decoder.faults.add(node.place, format!("cannot hold more than {MAX_SOCKETS} sockets for one service"));
        return (vec![], vec![]);
    }
    let root = decoder.root;
    let mut found = Vec::new();
    for entry in entries {
        let name = decoder.fit(entry.place, name(&entry.key));
        let address = decoder.read::<ListenAddress>(&entry.node, &Shape::Listen);
        if let (Some(name), Some(address)) = (name, address) {
            found.push((ListenPlan { name, address: absolute(address, root) }, entry.node.place));
        }
    }
    found.into_iter().unzip()
}

/// A name that fits LISTEN_FDNAMES and `${FD_name}`.
fn name(text: &str) -> Result<String, Misfit> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let problem = match text.chars().find(|c| !fits(*c)) {
        Some(odd) => format!("found {odd:?}"),
        None if text.is_empty() => "found none".to_owned(),
        None if text.len() > MAX_NAME => format!("at most {MAX_NAME} of them"),
        None => return Ok(text.to_owned()),
    };
    let usable: String = text.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_NAME).collect();
    let help =
        if usable.trim_matches('_').is_empty() { "such as `http`".to_owned() } else { format!("write `{usable}`") };
    let message =
        format!("cannot use {:?} as a socket's name: it consists of letters, digits and '_' ({problem})", short(text));
    Err(Misfit { message, help })
}

fn absolute(address: ListenAddress, root: &Path) -> ListenAddress {
    match address {
        ListenAddress::Unix(path) => ListenAddress::Unix(join(root, &path.to_string_lossy())),
        ListenAddress::Tcp(_) => address,
    }
}

/// As it is written: the path of a unix socket is still relative.
impl FromScalar for ListenAddress {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let text = String::read(scalar, shape)?;
        let Some(path) = text.strip_prefix("unix:") else {
            return match address(&text) {
                Ok(address) if address.port() == 0 => Err(Misfit {
                    help: "write a port from 1 to 65535".to_owned(),
                    ..Misfit::new(format!("cannot listen on {:?}: nobody would know its port", short(&text)))
                }),
                other => other.map(Self::Tcp),
            };
        };
        match path.strip_prefix("//").unwrap_or(path) {
            "" => Err(Misfit {
                help: "write unix:run/web.sock".to_owned(),
                ..Misfit::new(format!("cannot listen on {text:?}: it has no path"))
            }),
            path => Ok(Self::Unix(path.into())),
        }
    }

    fn fallback() -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

/// Reads `HOST:PORT` or `[v6]:PORT`. Nothing is looked up: `localhost` is 127.0.0.1, every other host an address.
pub(super) fn address(text: &str) -> Result<SocketAddr, Misfit> {
    let local = text.strip_prefix("localhost:").map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    local
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| Misfit { message: format!("cannot listen on {:?}", short(text)), help: address_help(text) })
}

fn address_help(text: &str) -> String {
    if let Ok(port) = text.parse::<u16>() {
        return format!("write 127.0.0.1:{port}");
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => return format!("write a port too, such as {ip}:9876"),
        Ok(IpAddr::V6(ip)) => return format!("write a port too, such as [{ip}]:9876"),
        Err(_) => {}
    }
    match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some(("" | "*", Ok(port))) => format!("write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"),
        Some((host, Ok(port))) if host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains([':', '/']) => {
            format!("host names are not looked up: write an address, such as 127.0.0.1:{port}")
        }
        _ => "write an address and a port, such as 127.0.0.1:9876 or [::1]:9876".to_owned(),
    }
}
