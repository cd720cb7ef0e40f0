//! Puts a question of any kind.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::probe::{Failure, HttpProbe, ProbeAddress, ProbeKind, Verdict};
use crate::model::template::{Slots, Template};
use crate::model::units::format_duration;
use crate::probe::command::{self, RunCommand};
use crate::probe::lines::{self, Lines};
use crate::probe::tools::Tools;
use crate::probe::{connect, http};

/// A deadline noticed so much too late says that everup itself did not run.
const HELD_UP: Duration = Duration::from_millis(500);

/// What is asked, of one instance.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What.
    pub kind: &'a ProbeKind,
    /// For all of it: name, connection, request and answer.
    pub timeout: Duration,
    /// Of the instance asked.
    pub slots: Slots,
}

/// What a question is asked with.
#[expect(missing_debug_implementations, reason = "holds the daemon's own way to run commands")]
pub struct Context<'a> {
    /// Kept from question to question.
    pub tools: &'a Tools,
    /// Runs the command of an `exec` probe.
    pub commands: &'a dyn RunCommand,
    /// The run's output, for a `log` probe; without it such a probe is skipped.
    pub lines: Option<&'a mut Lines>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whether it passed, in words for people.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What was asked, e.g. `GET http://127.0.0.1:8888/health`.
    pub request: String,
    /// The first 4 KiB of the answer's body or the command's output, where there is one.
    pub body: Option<String>,
}

/// Puts `question` and waits for its answer, at most its timeout. Needs a tokio runtime with I/O and time.
///
/// Dropping the future withdraws the question.
pub async fn ask(question: Question<'_>, context: Context<'_>) -> Answer {
    let Question { kind, timeout, slots } = question;
    let begun = Instant::now();
    let (verdict, body) = match kind {
        ProbeKind::Http(probe) => http::ask(context.tools, probe, slots, timeout).await,
        ProbeKind::Tcp(address) => (connect::ask(context.tools, address, slots, timeout).await, None),
        ProbeKind::Exec(words) => command::ask(context.commands, words, slots, timeout).await,
        ProbeKind::Log(pattern) => (lines::ask(context.tools, context.lines, pattern, timeout).await, None),
        ProbeKind::Notify => (Verdict::Skip { message: "READY=1 is waited for, not asked for".to_owned() }, None),
    };
    let took = begun.elapsed();
    // Ending the tree of a command takes its time.
    let slack = if matches!(kind, ProbeKind::Exec(_)) { command::SLACK } else { Duration::ZERO };
    Answer { verdict: excuse(verdict, took, timeout + slack), took, request: describe(kind, slots), body }
}

/// A time-out that was noticed far too late says nothing about the service.
fn excuse(verdict: Verdict, took: Duration, timeout: Duration) -> Verdict {
    let late = took.saturating_sub(timeout);
    match verdict {
        Verdict::Fail { how: Failure::Timeout, .. } if late > HELD_UP => {
            Verdict::Skip { message: format!("everup itself was held up for {}", format_duration(late)) }
        }
        other => other,
    }
}

/// The question in one line, without secrets.
fn describe(kind: &ProbeKind, slots: Slots) -> String {
    match kind {
        ProbeKind::Http(HttpProbe { url, socket, method, .. }) => {
            let url = http::without_password(&url.shown(slots));
            match socket {
                Some(path) => format!("{method} {url} over unix:{}", path.display()),
                None => format!("{method} {url}"),
            }
        }
        ProbeKind::Tcp(ProbeAddress::Tcp(address)) => format!("connect to {}", address.shown(slots)),
        ProbeKind::Tcp(ProbeAddress::Unix(path)) => format!("connect to unix:{}", path.display()),
        ProbeKind::Exec(words) => words.iter().map(|word| quote(word, slots)).collect::<Vec<_>>().join(" "),
        ProbeKind::Notify => "READY=1 on NOTIFY_SOCKET".to_owned(),
        ProbeKind::Log(pattern) => format!("a line that matches /{pattern}/"),
    }
}

/// A word as a shell would want it.
fn quote(word: &Template, slots: Slots) -> String {
    let text = word.shown(slots);
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::path::PathBuf;
    use std::pin::Pin;

    use super::*;
    use crate::model::template::Part;
    use crate::probe::command::CommandOutcome;
    use crate::probe::reason;

    struct NoCommands;

    impl RunCommand for NoCommands {
        fn run(&self, _: Vec<String>, _: Duration) -> Pin<Box<dyn Future<Output = CommandOutcome> + '_>> {
            Box::pin(std::future::pending())
        }
    }

    const SLOTS: Slots = Slots { index: 2, port: Some(8889) };

    #[test]
    fn the_question_reads_in_one_line_without_passwords() {
        let url =
            |url: &str| Template::new(vec![Part::Text(url.to_owned()), Part::Port, Part::Text("/health".to_owned())]);
        let http = |text: &str, socket: Option<&str>| {
            ProbeKind::Http(HttpProbe {
                url: url(text),
                socket: socket.map(PathBuf::from),
                method: "GET".to_owned(),
                headers: [("Authorization".to_owned(), Template::text("Bearer hush"))].into(),
                status: vec![(200, 399)],
                body: None,
                insecure: false,
            })
        };
        for (kind, wanted) in [
            (http("http://127.0.0.1:", None), "GET http://127.0.0.1:8889/health"),
            (http("http://me:hush@app:", None), "GET http://me:***@app:8889/health"),
            (http("http://app:", Some("/run/app.sock")), "GET http://app:8889/health over unix:/run/app.sock"),
            (ProbeKind::Tcp(ProbeAddress::Tcp(url("db:"))), "connect to db:8889/health"),
            (ProbeKind::Tcp(ProbeAddress::Unix("/run/x".into())), "connect to unix:/run/x"),
            (
                ProbeKind::Exec(["pg_isready", "-h", "a b", "it's", ""].map(Template::text).to_vec()),
                r"pg_isready -h 'a b' 'it'\''s' ''",
            ),
            (ProbeKind::Log("^ready".to_owned()), "a line that matches /^ready/"),
        ] {
            assert_eq!(describe(&kind, SLOTS), wanted);
        }
    }

    #[test]
    fn a_time_out_noticed_far_too_late_is_no_failure() {
        let second = Duration::from_secs(1);
        let overdue = reason::overdue("no answer", second);
        assert_eq!(excuse(overdue.clone(), second + HELD_UP, second), overdue);
        let held_up = Verdict::Skip { message: "everup itself was held up for 1s".to_owned() };
        assert_eq!(excuse(overdue, 2 * second, second), held_up);
        for kept in [reason::fail("503"), Verdict::Pass { message: "200 OK".to_owned() }] {
            assert_eq!(excuse(kept.clone(), 9 * second, second), kept);
        }
    }

    #[tokio::test]
    async fn every_kind_is_answered_by_one_door() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = {
            let tools = Tools::default();
            let mut answers = vec![];
            for kind in [
                ProbeKind::Tcp(ProbeAddress::Tcp(Template::text(&*address))),
                ProbeKind::Notify,
                ProbeKind::Log("x".to_owned()),
            ] {
                let question = Question { kind: &kind, timeout: Duration::from_secs(10), slots: SLOTS };
                answers.push(ask(question, Context { tools: &tools, commands: &NoCommands, lines: None }).await);
            }
            answers
        };
        assert!(matches!(answers[0].verdict, Verdict::Pass { .. }), "{answers:?}");
        assert!(answers[1..].iter().all(|answer| matches!(answer.verdict, Verdict::Skip { .. })), "{answers:?}");
        assert!(answers[0].took > Duration::ZERO);
    }
}
