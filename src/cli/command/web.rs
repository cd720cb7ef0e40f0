//! `everup web`: where the status page is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::locate;
use crate::model::status::Status;

/// Options of `web`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup web                  the address of the status page\n  everup web --open           in a browser: $BROWSER, else xdg-open\n\nThe page is served where the file says `web: {listen: 127.0.0.1:9876}`. From another machine, look through a\ntunnel: ssh -L 9876:127.0.0.1:9876 HOST."
)]
pub(crate) struct Web {
    /// Open it in a browser
    #[arg(short, long)]
    open: bool,
}

/// Where the page is, for JSON.
#[derive(Debug, Serialize)]
struct Page<'a> {
    v: u32,
    url: &'a str,
}

/// Prints the address, and opens it where that is asked for.
pub(crate) fn run(args: &Web, context: &Context) -> Result<Exit, Failure> {
    let project = locate(context, None)?;
    let status = project.connect()?.status()?;
    let listen = listen(&status)?;
    let url = url(listen);
    if context.out.json {
        context.out.object(&Page { v: 1, url: &url })?;
    } else {
        context.out.line(&url)?;
    }
    if !listen.ip().is_loopback() {
        context
            .out
            .talk("it is reachable from other machines, so even looking needs the token, which browsers do not send");
    }
    if args.open {
        open(&url)?;
    }
    Ok(Exit::Done)
}

fn listen(status: &Status) -> Result<SocketAddr, Failure> {
    status.web.as_deref().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let failure = Failure::failed(format!("cannot show a page of {}: web.listen is not set", status.project));
        match &status.config {
            Some(file) => failure.hint(format!(
                "write `web: {{listen: 127.0.0.1:9876}}` into {file}, then everup down and everup up -d"
            )),
            None => {
                failure.hint("a program of `everup run` has no page; `everup init` proposes a file for `everup up`")
            }
        }
    })
}

/// The address as a browser on this machine takes it.
fn url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}/", SocketAddr::new(ip, listen.port()))
}

/// Opens it with the first program that can.
fn open(url: &str) -> Result<(), Failure> {
    let chosen = std::env::var("BROWSER").unwrap_or_default();
    let mut tried = vec![];
    for program in chosen.split(':').chain(["xdg-open"]).filter(|program| !program.is_empty()) {
        // As xdg-open reads it: words, with %s where the address goes, else at the end.
        let mut words: Vec<String> = program.split_whitespace().map(|word| word.replace("%s", url)).collect();
        if !program.contains("%s") {
            words.push(url.to_owned());
        }
        let Some((name, rest)) = words.split_first() else { continue };
        // xdg-open tells at length what it tried; our own words follow.
        match Command::new(name).args(rest).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => tried.push(format!("{name}: {status}")),
            Err(error) => tried.push(format!("{name}: {error}")),
        }
    }
    Err(Failure::failed(format!("cannot open a browser ({})", tried.join("; ")))
        .hint(format!("open {url} yourself, or name a browser in BROWSER")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_opened_at_this_machine() {
        for (listen, expected) in [
            ("127.0.0.1:9876", "http://127.0.0.1:9876/"),
            ("0.0.0.0:80", "http://127.0.0.1:80/"),
            ("[::]:9876", "http://[::1]:9876/"),
            ("192.168.1.5:9876", "http://192.168.1.5:9876/"),
        ] {
            assert_eq!(url(listen.parse().unwrap()), expected);
        }
    }
}
