//! The `log` question: has a line of this run matched, or does one now?

use std::io;
use std::time::Duration;

use regex::bytes::Regex;
use tokio::sync::watch;

use crate::model::log::LogLine;
use crate::model::probe::Verdict;
use crate::probe::reason;
use crate::probe::tools::Tools;

/// Lines looked at in one go; then others of the loop get their turn.
const AT_ONCE: usize = 256;
/// So much of the line is quoted.
const QUOTED: usize = 200;

type Next = Box<dyn FnMut(usize) -> io::Result<Vec<LogLine>> + Send>;

/// The output of one run, read on from question to question. Made anew for each run, and when the pattern changes.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Lines {
    next: Next,
    progress: watch::Receiver<u64>,
    found: Option<String>,
}

impl Lines {
    /// `next` gives at most so many lines of the run, each once, from its first on, and none when there are no more
    /// now; `progress` is told when there may be.
    pub fn new(
        next: impl FnMut(usize) -> io::Result<Vec<LogLine>> + Send + 'static,
        progress: watch::Receiver<u64>,
    ) -> Self {
        Self { next: Box::new(next), progress, found: None }
    }

    /// Waits for a line that matches and gives it; none when no more come.
    async fn find(&mut self, regex: &Regex) -> io::Result<Option<String>> {
        let mut open = true;
        while self.found.is_none() {
            self.progress.borrow_and_update();
            let lines = (self.next)(AT_ONCE)?;
            let hit = lines.iter().find(|line| regex.is_match(line.line.as_bytes()));
            self.found = hit.map(|line| line.line.chars().take(QUOTED).collect());
            if !lines.is_empty() {
                tokio::task::yield_now().await;
            } else if open {
                open = self.progress.changed().await.is_ok();
            } else {
                break;
            }
        }
        Ok(self.found.clone())
    }
}

/// Waits until a line of the run matches `pattern`, at most `timeout`. A line that matched once counts for the whole run.
pub(super) async fn ask(tools: &Tools, lines: Option<&mut Lines>, pattern: &str, timeout: Duration) -> Verdict {
    let Some(lines) = lines else {
        return Verdict::Skip { message: "there is no output to look at".to_owned() };
    };
    let regex = match tools.pattern(pattern) {
        Ok(regex) => regex,
        Err(error) => return reason::error(error),
    };
    match tokio::time::timeout(timeout, lines.find(&regex)).await {
        Ok(Ok(Some(line))) => Verdict::Pass { message: format!("it said: {line}") },
        Ok(Ok(None)) => Verdict::Skip { message: "its output is no longer recorded".to_owned() },
        Ok(Err(error)) => Verdict::Skip { message: format!("its output cannot be read: {error}") },
        Err(_) => reason::overdue(&format!("no line matched /{pattern}/"), timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::log::Stream;
    use crate::model::names::{Run, ServiceName};
    use crate::model::units::Timestamp;

    type Queue = Arc<Mutex<VecDeque<String>>>;

    fn follow() -> (Queue, watch::Sender<u64>, Lines) {
        let queue = Queue::default();
        let (tell, progress) = watch::channel(0);
        let reader = Arc::clone(&queue);
        let lines = Lines::new(
            move |max| {
                let mut queue = reader.lock().unwrap();
                let count = queue.len().min(max);
                Ok(queue.drain(..count).map(line).collect())
            },
            progress,
        );
        (queue, tell, lines)
    }

    fn line(line: String) -> LogLine {
        let service = ServiceName::new("web").unwrap();
        LogLine {
            v: 1,
            at: Timestamp(0),
            instance: service.to_string(),
            service,
            run: Run(1),
            stream: Stream::Stdout,
            line,
        }
    }

    fn say(queue: &Queue, tell: &watch::Sender<u64>, texts: &[&str]) {
        queue.lock().unwrap().extend(texts.iter().map(|text| (*text).to_owned()));
        tell.send_modify(|count| *count += 1);
    }

    fn found(line: &str) -> Verdict {
        Verdict::Pass { message: format!("it said: {line}") }
    }

    const SOON: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn asked(lines: &mut Lines, timeout: Duration) -> Verdict {
        ask(&Tools::default(), Some(lines), "^ready on [0-9]+", timeout).await
    }

    #[tokio::test]
    async fn a_line_said_before_or_while_asked_passes_and_counts_from_then_on() {
        let (queue, tell, mut lines) = follow();
        say(&queue, &tell, &["starting", "not ready on 1"]);
        let overdue = reason::overdue("no line matched /^ready on [0-9]+/", SOON);
        assert_eq!(asked(&mut lines, SOON).await, overdue);
        let speaker = async {
            say(&queue, &tell, &["still starting"]);
            tokio::task::yield_now().await;
            tokio::time::sleep(SOON).await;
            say(&queue, &tell, &["ready on 8888", "more"]);
        };
        let (verdict, ()) = tokio::join!(asked(&mut lines, PATIENCE), speaker);
        assert_eq!(verdict, found("ready on 8888"));
        assert_eq!(asked(&mut lines, Duration::ZERO).await, found("ready on 8888"));
    }

    #[tokio::test]
    async fn a_flood_of_lines_is_looked_through() {
        let (queue, tell, mut lines) = follow();
        let noise: Vec<String> = (0..10_000).map(|n| format!("noise {n}")).collect();
        say(&queue, &tell, &noise.iter().map(String::as_str).collect::<Vec<_>>());
        say(&queue, &tell, &["ready on 1"]);
        assert_eq!(asked(&mut lines, PATIENCE).await, found("ready on 1"));
    }

    #[tokio::test]
    async fn without_output_nothing_is_concluded() {
        let (_, tell, mut lines) = follow();
        drop(tell);
        let mut broken = Lines::new(|_| Err(io::ErrorKind::NotFound.into()), watch::channel(0).1);
        for verdict in [
            asked(&mut lines, PATIENCE).await,
            asked(&mut broken, PATIENCE).await,
            ask(&Tools::default(), None, "x", PATIENCE).await,
        ] {
            assert!(matches!(verdict, Verdict::Skip { .. }), "{verdict:?}");
        }
        let verdict = ask(&Tools::default(), Some(&mut lines), "(", PATIENCE).await;
        assert!(
            matches!(&verdict, Verdict::Fail { message, .. } if message.starts_with("cannot read the pattern")),
            "{verdict:?}"
        );
    }
}
