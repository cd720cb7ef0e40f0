//! `top` on a real terminal: tmux draws it and says what is on the screen.

use std::process::{Command, Output, Stdio};

use crate::support::{Project, text, wait_for};

/// A terminal in tmux with a shell in it, in the project's folder; it ends when this is dropped.
struct Terminal<'a> {
    project: &'a Project,
    socket: String,
}

impl<'a> Terminal<'a> {
    fn new(project: &'a Project, columns: u16, rows: u16) -> Self {
        let socket = project.path("tmux").display().to_string();
        let terminal = Self { project, socket };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, "env PS1='shell> ' sh"]);
        terminal.sees("shell>");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(["-f", "/dev/null", "-S", &self.socket]).args(args).current_dir(self.project.folder.path());
        command.env("XDG_RUNTIME_DIR", self.project.path("run")).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        let output = command.stdin(Stdio::null()).output().expect("tmux runs");
        assert!(output.status.success(), "tmux {args:?}: {}", text(&output.stderr));
        output
    }

    /// Types words, or keys by tmux's names.
    fn types(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn runs(&self, line: &str) {
        self.types(&["-l", line]);
        self.types(&["Enter"]);
    }

    fn screen(&self) -> String {
        text(&self.tmux(&["capture-pane", "-p"]).stdout)
    }

    /// Waits until these words are on the screen, and says what else is.
    fn sees(&self, words: &str) -> String {
        let mut seen = String::new();
        let mut look = || {
            seen = self.screen();
            seen.contains(words)
        };
        wait_for(&format!("{words:?} on the screen, which shows\n{}", self.screen()), &mut look);
        seen
    }

    fn top(&self) {
        self.runs(&format!("{} top; echo left with $?", env!("CARGO_BIN_EXE_everup")));
        self.sees("STATE");
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // The server of this socket is ours alone.
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}

const FILE: &str = "
name: shop
services:
  web:
    command: [\"sh\", \"-c\", \"while :; do echo serving; sleep 1; done\"]
  db:
    command: [\"sleep\", \"1000\"]
  worker:
    command: [\"sh\", \"-c\", \"exit 3\"]
    restart: {policy: always, delay: 1h, max_delay: 1h}
";

#[test]
#[ignore = "needs tmux: tests/peers/setup installs it"]
fn the_screen_shows_moves_opens_acts_and_leaves_the_terminal_as_it_was() {
    let project = Project::up(FILE);
    let terminal = Terminal::new(&project, 80, 24);
    terminal.runs("stty -g > before; echo what was there");
    terminal.top();
    let table = terminal.sees("backoff");
    assert!(!table.contains("what was there"), "{table}");
    for words in ["● web", "● db", "◐ worker", "exit 3", "q quit", "up "] {
        assert!(table.contains(words), "{words}\n{table}");
    }
    terminal.types(&["Down", "Enter"]);
    let detail = terminal.sees("last 5 min");
    assert!(detail.contains("● db") && detail.contains("events") && detail.contains("log"), "{detail}");
    terminal.types(&["k", "l"]);
    terminal.sees("log of web");
    terminal.sees("Z serving");
    terminal.types(&["Escape"]);
    terminal.sees("last 5 min");
    terminal.types(&["Escape"]);
    terminal.sees("STATE");
    terminal.types(&["r"]);
    terminal.sees("restart web?");
    terminal.types(&["n"]);
    terminal.sees("restart web: not done");
    assert_eq!(project.instance("web", 0)["run"], 1);
    terminal.types(&["r", "y"]);
    terminal.sees("web: ");
    wait_for("web to be restarted", || project.instance("web", 0)["run"] == 2);
    terminal.types(&["/"]);
    terminal.types(&["-l", "wor"]);
    let filtered = terminal.sees("/wor_");
    assert!(filtered.contains("worker") && !filtered.contains("● web"), "{filtered}");
    terminal.types(&["Escape"]);
    terminal.sees("q quit");
    terminal.types(&["?"]);
    terminal.sees("Ctrl-Z");
    terminal.types(&["q"]);
    terminal.sees("q quit");
    terminal.types(&["q"]);
    let after = terminal.sees("left with 0");
    assert!(after.contains("what was there") && !after.contains("STATE"), "{after}");
    terminal.runs("stty -g > after; cmp before after && echo the same");
    terminal.sees("\nthe same");
}

#[test]
#[ignore = "needs tmux: tests/peers/setup installs it"]
fn a_lost_supervisor_is_said_and_found_again_and_a_signal_leaves_the_terminal_as_it_was() {
    let project = Project::new(FILE);
    project.ok(&["up", "-d"]);
    let terminal = Terminal::new(&project, 100, 30);
    terminal.runs("stty -g > before; echo what was there");
    terminal.top();
    project.ok(&["down"]);
    terminal.sees("these are the last figures; trying again");
    project.ok(&["up", "-d"]);
    terminal.sees("load");
    // Its shell's own child, by the terminal's word.
    terminal.types(&["C-z"]);
    terminal.sees("what was there");
    terminal.runs("fg; echo left with $?");
    terminal.sees("STATE");
    let pane = text(&terminal.tmux(&["display-message", "-p", "#{pane_pid}"]).stdout);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pane.trim())).unwrap_or_default();
    let top: i32 = children.split_whitespace().last().expect("top is the shell's child").parse().expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(top), nix::sys::signal::Signal::SIGTERM).expect("it is there");
    let after = terminal.sees("left with 143");
    assert!(after.contains("what was there") && !after.contains("STATE"), "{after}");
    terminal.runs("stty -g > after; cmp before after && echo the same");
    terminal.sees("\nthe same");
    project.ok(&["down"]);
}

#[test]
fn without_a_terminal_it_says_so() {
    let project = Project::up(FILE);
    let said = project.everup(&["top"]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(text(&said.stderr).contains("this is no terminal"), "{said:?}");
}
