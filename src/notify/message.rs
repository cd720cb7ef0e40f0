//! What somebody is told: `why --json` of the service with its newest entry, and a sentence for people.

use serde::Serialize;

use crate::model::event::Fact;
use crate::model::plan::NotifyOn;
use crate::model::service::{Cause, Certainty};
use crate::model::why::{Why, WhyEntry};

/// The longest sentence, in characters: what a phone shows, and far below what any receiver refuses.
const LONGEST: usize = 400;

/// One message, as it is POSTed and read from stdin: the shape of `why --json` and a few keys beside it. `text` is what
/// Slack and those that copy it show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// One readable sentence.
    pub text: String,
    /// Of what.
    pub event: NotifyOn,
    /// The project's name.
    pub project: String,
    /// The machine's name.
    pub host: String,
    /// The instance's name.
    pub instance: String,
    /// How often that has happened since the last message of this kind about this service.
    pub times: u32,
    /// The end behind it; `entries` is empty where nothing has ended.
    #[serde(flatten)]
    pub why: Why,
}

/// Where everup runs, as messages say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The project's name.
    pub project: String,
    /// The machine's name.
    pub host: String,
}

impl Message {
    /// About `fact`, which has happened `times` times; `entry` is the newest end of its instance. None: the fact is about
    /// no service.
    pub fn new(on: NotifyOn, fact: &Fact, times: u32, entry: Option<WhyEntry>, place: &Place) -> Option<Self> {
        let id = fact.instance()?;
        let instance = id.label(fact.instances);
        let text = sentence(on, &instance, fact, times, entry.as_ref(), place);
        Some(Self {
            text,
            event: on,
            project: place.project.clone(),
            host: place.host.clone(),
            instance,
            times,
            why: Why { v: 1, service: id.service, entries: entry.into_iter().collect() },
        })
    }

    /// The whole as one line of JSON.
    pub fn body(&self) -> String {
        // Texts, numbers and lists of them: nothing of it can fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a command is told in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let cause = self.why.entries.first().map(|entry| entry.cause.to_string());
        let known = [
            ("EVERUP_EVENT", Some(word(self.event))),
            ("EVERUP_SERVICE", Some(self.why.service.to_string())),
            ("EVERUP_INSTANCE", Some(self.instance.clone())),
            ("EVERUP_CAUSE", cause),
            ("EVERUP_MESSAGE", Some(self.text.clone())),
            ("EVERUP_PROJECT", Some(self.project.clone())),
            ("EVERUP_HOST", Some(self.host.clone())),
        ];
        known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// What it is about in two words, for everup's own events: `web failed`.
    pub fn subject(&self) -> String {
        format!("{} {}", self.instance, word(self.event))
    }
}

/// As the file spells it.
fn word(on: NotifyOn) -> String {
    match on {
        NotifyOn::Failed => "failed",
        NotifyOn::CrashLooping => "crash_looping",
        NotifyOn::Recovered => "recovered",
        NotifyOn::Oom => "oom",
    }
    .to_owned()
}

/// `web has failed: exit code 1; restarted 10 times within 5m (shop on host7)`.
fn sentence(on: NotifyOn, who: &str, fact: &Fact, times: u32, entry: Option<&WhyEntry>, place: &Place) -> String {
    let certainty = fact.certainty.or(entry.map(|entry| entry.certainty)).unwrap_or(Certainty::Guess);
    let what = match (on, certainty) {
        (NotifyOn::Failed, _) => format!("{who} has failed"),
        (NotifyOn::CrashLooping, _) => format!("{who} is crash-looping"),
        (NotifyOn::Recovered, _) => format!("{who} has recovered"),
        (NotifyOn::Oom, Certainty::Certain) => format!("the kernel killed {who} for memory"),
        (NotifyOn::Oom, Certainty::Likely) => format!("the kernel probably killed {who} for memory"),
        (NotifyOn::Oom, Certainty::Guess) => format!("the kernel may have killed {who} for memory (a guess)"),
    };
    let mut reasons: Vec<&str> = vec![];
    if on != NotifyOn::Recovered {
        // A failure for another one's sake has said so already.
        let own = fact.cause != Some(Cause::Dependency);
        reasons.extend(entry.iter().filter(|_| own).flat_map(|entry| entry.evidence.iter().map(String::as_str)));
        reasons.extend(fact.message.as_deref().filter(|_| on != NotifyOn::Oom));
    }
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    let often = if times > 1 { format!(", {times} times since the last message") } else { String::new() };
    let tail = format!("{often} ({} on {})", place.project, place.host);
    let room = LONGEST.saturating_sub(tail.chars().count());
    format!("{}{tail}", tame(&format!("{what}{why}"), room))
}

/// One line without control characters, of at most `room` characters.
fn tame(text: &str, room: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= room {
        return plain.collect();
    }
    plain.take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::event::EventWord;
    use crate::model::names::{Run, ServiceName};
    use crate::model::units::Timestamp;

    pub(in crate::notify) fn entry(cause: Cause, certainty: Certainty, evidence: &[&str]) -> WhyEntry {
        WhyEntry {
            instance: "web".to_owned(),
            run: Some(Run(3)),
            at: Timestamp(0),
            cause,
            certainty,
            code: Some(1),
            signal: None,
            ran_ms: Some(2_300),
            evidence: evidence.iter().map(|one| (*one).to_owned()).collect(),
            last_lines: vec!["KeyError: 'DB'".to_owned()],
            changed_before: vec![],
            then: None,
            trend: None,
        }
    }

    pub(in crate::notify) fn message(on: NotifyOn, fact: Fact, times: u32, entry: Option<WhyEntry>) -> Message {
        let place = Place { project: "shop".to_owned(), host: "host7".to_owned() };
        let fact = Fact { service: Some(ServiceName::new("web").unwrap()), index: Some(1), ..fact };
        Message::new(on, &fact, times, entry, &place).unwrap()
    }

    fn fact(message: Option<&str>, certainty: Option<Certainty>) -> Fact {
        Fact { message: message.map(str::to_owned), certainty, ..Fact::new(EventWord::Failed) }
    }

    #[test]
    fn a_sentence_says_what_why_and_where() {
        use Certainty::{Certain, Guess};
        let oom = |certainty| Some(entry(Cause::Oom, certainty, &["Out of memory: Killed process 42 (python)"]));
        let exit = || Some(entry(Cause::Exit, Certain, &["exit code 1", "its output names app.py:3: KeyError: 'DB'"]));
        for (on, told, times, entry, text) in [
            (
                NotifyOn::Failed,
                fact(Some("restarted 2 times within 1m"), None),
                1,
                exit(),
                "web has failed: exit code 1; its output names app.py:3: KeyError: 'DB'; restarted 2 times within 1m (shop on host7)",
            ),
            (NotifyOn::CrashLooping, fact(None, None), 1, None, "web is crash-looping (shop on host7)"),
            (NotifyOn::Recovered, fact(Some("x"), None), 1, exit(), "web has recovered (shop on host7)"),
            (
                NotifyOn::Oom,
                fact(None, Some(Certain)),
                3,
                oom(Certain),
                "the kernel killed web for memory: Out of memory: Killed process 42 (python), 3 times since the last message (shop on host7)",
            ),
            (
                NotifyOn::Oom,
                fact(None, Some(Guess)),
                1,
                None,
                "the kernel may have killed web for memory (a guess) (shop on host7)",
            ),
            (
                NotifyOn::Failed,
                Fact { cause: Some(Cause::Dependency), ..fact(Some("needs db"), None) },
                1,
                Some(self::entry(Cause::Dependency, Certain, &["needs db"])),
                "web has failed: needs db (shop on host7)",
            ),
        ] {
            assert_eq!(message(on, told, times, entry).text, text);
        }
    }

    #[test]
    fn a_sentence_is_one_line_of_bounded_length() {
        let evidence = format!("exit code 1\u{1b}[31m\n{}", "é".repeat(1_000));
        let entry = entry(Cause::Exit, Certainty::Certain, &[&evidence]);
        let text = message(NotifyOn::Failed, fact(None, None), 1, Some(entry)).text;
        assert!(text.chars().count() == LONGEST && text.ends_with("é… (shop on host7)"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn the_payload_is_why_and_a_little_more() {
        let entry = entry(Cause::Exit, Certainty::Certain, &["exit code 1"]);
        let message = message(NotifyOn::Failed, fact(None, None), 1, Some(entry.clone()));
        let json: serde_json::Value = serde_json::from_str(&message.body()).unwrap();
        let why: Why = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(why.entries, [entry]);
        assert_eq!((&json["v"], &json["service"], &json["event"]), (&1.into(), &"web".into(), &"failed".into()));
        assert_eq!(
            (&json["project"], &json["host"], &json["instance"]),
            (&"shop".into(), &"host7".into(), &"web".into())
        );
        assert_eq!(json["text"], message.text);
        let environment: std::collections::BTreeMap<_, _> = message.environment().into_iter().collect();
        assert_eq!((environment["EVERUP_EVENT"].as_str(), environment["EVERUP_CAUSE"].as_str()), ("failed", "exit"));
        assert_eq!(environment["EVERUP_MESSAGE"], message.text);
    }
}
