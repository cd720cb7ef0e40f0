//! `everup demo`: a show to play with, in a folder of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Tone;

/// Options of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  everup demo                 runs until Ctrl-C; commands to try are printed first")]
pub(crate) struct Demo {}

/// Writes the files, prints what to try, and becomes `everup up` on them.
///
/// # Errors
/// When the folder or the ports cannot be had.
pub(crate) fn run(_args: &Demo, context: &Context) -> Result<ExitCode, Failure> {
    let folder = fresh_folder()?;
    let ports = free_ports()?;
    let file = folder.join("supervisor.yaml");
    std::fs::write(&file, project(ports))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
    let paint = context.out.talk_paint();
    context.out.trouble(&format!("{}\n{}", paint.text(Tone::Strong, "everup demo"), to_try(&file, ports)));
    let mut up = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        up.arg0(name);
    }
    let error = up.arg("up").arg("-c").arg(&file).exec();
    Err(Failure::failed(format!("cannot run `everup up`: {error}")))
}

/// A folder nobody else has.
fn fresh_folder() -> Result<PathBuf, Failure> {
    let base = std::env::temp_dir();
    let pid = std::process::id();
    for attempt in 0..1_000 {
        let folder =
            base.join(if attempt == 0 { format!("everup-demo-{pid}") } else { format!("everup-demo-{pid}-{attempt}") });
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::failed(format!("cannot make a folder in {}: {error}", base.display()))),
        }
    }
    Err(Failure::failed(format!("cannot make a folder in {}: all names are taken", base.display())))
}

/// Two ports nobody listens on now; both are held until both are known, so that they differ.
fn free_ports() -> Result<[u16; 2], Failure> {
    let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let ports = || {
        let (first, second) = (hold()?, hold()?);
        Ok::<_, std::io::Error>([first.local_addr()?.port(), second.local_addr()?.port()])
    };
    ports().map_err(|error| Failure::failed(format!("cannot find a free port: {error}")))
}

fn project([shop, mail]: [u16; 2]) -> String {
    format!(
        "\
name: demo
services:
  shop:
    command: ${{EVERUP}} demo-app --title shop --port ${{PORT}}
    port: {shop}
    health: {{http: \"http://127.0.0.1:${{PORT}}/health\", interval: 2s, timeout: 1s}}
    needs: {{mail: ready}}
  mail:
    command: ${{EVERUP}} demo-app --title mail --port ${{PORT}}
    port: {mail}
    health: http://127.0.0.1:${{PORT}}/health
    stop: {{timeout: 2s}}
"
    )
}

fn to_try(file: &Path, [shop, mail]: [u16; 2]) -> String {
    let file = file.display();
    let rows = [
        (format!("curl http://127.0.0.1:{shop}/"), "what the shop can do"),
        (format!("curl http://127.0.0.1:{shop}/crash"), "it dies and is back at once"),
        (format!("everup -c {file} why shop"), "why it restarted"),
        (format!("curl http://127.0.0.1:{shop}/hang"), "three probes fail, then it is restarted"),
        (format!("curl http://127.0.0.1:{mail}/leak?mb=50"), "watch its memory in status"),
        (format!("everup -c {file} status -w"), "who runs, redrawn every second"),
        (format!("everup -c {file} events"), "all that happened"),
        (format!("everup -c {file} down"), "or Ctrl-C here"),
    ];
    let width = rows.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let lines = rows.iter().map(|(command, about)| format!("  {command:<width$}  # {about}\n"));
    format!("two small web services in {file}; in another terminal, try:\n\n{}\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_differ_and_stand_in_the_file_and_in_what_to_try() {
        let [shop, mail] = free_ports().unwrap();
        assert_ne!(shop, mail);
        let (file, hints) = (project([shop, mail]), to_try(Path::new("/tmp/x/supervisor.yaml"), [shop, mail]));
        for text in [
            format!("port: {shop}"),
            format!("port: {mail}"),
            "${EVERUP} demo-app --title shop --port ${PORT}".to_owned(),
        ] {
            assert!(file.contains(&text), "{file}");
        }
        assert!(hints.contains(&format!("http://127.0.0.1:{shop}/crash")) && hints.contains("why shop"), "{hints}");
    }

    #[test]
    fn each_demo_has_a_folder_of_its_own() {
        let (first, second) = (fresh_folder().unwrap(), fresh_folder().unwrap());
        assert_ne!(first, second);
        for folder in [first, second] {
            std::fs::remove_dir(folder).unwrap();
        }
    }
}
