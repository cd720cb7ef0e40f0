//! The words that stand for a choice in the file, each once.

use crate::model::plan::{AccessFormat, Kind, LimitThen, NotifyOn, OnSupervisorDeath, Policy, RuleThen, Until};
use crate::model::service::Cause;
use crate::model::watch::WatchWhen;

/// A closed choice that the file spells as one word.
pub(super) trait Word: Clone + PartialEq + 'static {
    /// Every word and what it stands for; never empty, the default first.
    const WORDS: &'static [(&'static str, Self)];

    /// Our word for one that other tools use.
    fn foreign(_word: &str) -> Option<&'static str> {
        None
    }
}

/// Every word of a choice.
pub(super) fn words_of<W: Word>() -> Vec<&'static str> {
    W::WORDS.iter().map(|(word, _)| *word).collect()
}

/// The word for a value.
pub(super) fn word<W: Word>(value: &W) -> &'static str {
    W::WORDS.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

impl Word for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[("service", Self::Service), ("task", Self::Task)];

    fn foreign(word: &str) -> Option<&'static str> {
        match word {
            "oneshot" | "job" | "once" => Some("task"),
            "simple" | "daemon" | "process" => Some("service"),
            _ => None,
        }
    }
}

impl Word for Policy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("always", Self::Always),
        ("on-failure", Self::OnFailure),
        ("never", Self::Never),
        ("unless-stopped", Self::UnlessStopped),
    ];

    fn foreign(word: &str) -> Option<&'static str> {
        match word {
            "no" | "false" | "off" => Some("never"),
            "yes" | "true" | "on" => Some("always"),
            "unexpected" | "exit_on_failure" | "failure" | "on-abnormal" => Some("on-failure"),
            _ => None,
        }
    }
}

impl Word for LimitThen {
    const WORDS: &'static [(&'static str, Self)] = &[("slow", Self::Slow), ("stop", Self::Stop), ("exit", Self::Exit)];
}

impl Word for RuleThen {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("restart", Self::Restart),
        ("restart_now", Self::RestartNow),
        ("slow", Self::Slow),
        ("stop", Self::Stop),
        ("exit", Self::Exit),
    ];

    fn foreign(word: &str) -> Option<&'static str> {
        matches!(word, "fail" | "never" | "ignore").then_some("stop")
    }
}

impl Word for Until {
    const WORDS: &'static [(&'static str, Self)] =
        &[("ready", Self::Ready), ("started", Self::Started), ("completed", Self::Completed)];

    fn foreign(word: &str) -> Option<&'static str> {
        match word {
            "service_started" => Some("started"),
            "service_healthy" | "healthy" | "process_healthy" => Some("ready"),
            "service_completed_successfully" | "process_completed_successfully" | "done" => Some("completed"),
            _ => None,
        }
    }
}

impl Word for OnSupervisorDeath {
    const WORDS: &'static [(&'static str, Self)] = &[("keep", Self::Keep), ("kill", Self::Kill)];
}

impl Word for WatchWhen {
    const WORDS: &'static [(&'static str, Self)] = &[("dev", Self::Dev), ("always", Self::Always)];

    fn foreign(word: &str) -> Option<&'static str> {
        match word {
            "yes" | "true" | "on" | "up" => Some("always"),
            "no" | "false" | "off" | "never" => Some("dev"),
            _ => None,
        }
    }
}

impl Word for NotifyOn {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("failed", Self::Failed),
        ("crash_looping", Self::CrashLooping),
        ("recovered", Self::Recovered),
        ("oom", Self::Oom),
    ];

    fn foreign(word: &str) -> Option<&'static str> {
        match word {
            "down" | "fatal" | "stopped" | "exited" => Some("failed"),
            "flapping" | "backoff" | "restarting" | "crashed" | "crash" => Some("crash_looping"),
            "up" | "ok" | "resolved" | "healthy" => Some("recovered"),
            "memory" | "out_of_memory" | "oom_kill" | "oom_killed" => Some("oom"),
            _ => None,
        }
    }
}

impl Word for AccessFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tornado", Self::Tornado), ("uvicorn", Self::Uvicorn), ("gunicorn", Self::Gunicorn), ("nginx", Self::Nginx)];

    fn foreign(word: &str) -> Option<&'static str> {
        match word {
            "starlette" | "fastapi" | "asgi" => Some("uvicorn"),
            "combined" | "apache" => Some("nginx"),
            _ => None,
        }
    }
}

impl Word for Cause {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("exit", Self::Exit),
        ("signal", Self::Signal),
        ("oom", Self::Oom),
        ("probe", Self::Probe),
        ("watchdog", Self::Watchdog),
        ("memory_limit", Self::MemoryLimit),
        ("watch", Self::Watch),
        ("config", Self::Config),
        ("dependency", Self::Dependency),
        ("schedule", Self::Schedule),
        ("user", Self::User),
        ("spawn_error", Self::SpawnError),
        ("start_timeout", Self::StartTimeout),
        ("supervisor_lost", Self::SupervisorLost),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_spelled_as_everywhere() {
        assert_eq!(Cause::WORDS.len(), Cause::ALL.len());
        for (word, cause) in Cause::WORDS {
            assert_eq!(*word, cause.to_string());
        }
    }
}
