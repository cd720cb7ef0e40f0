//! "Did you mean": the nearest valid name, and everup's words for those of other tools.

use crate::config::keys::{self, Section};
use crate::config::shape::Shape;

/// Words of other tools, and where the same thing is said here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("access_log", "log_metrics"),
    ("after", "needs"),
    ("alerts", "notify"),
    ("apps", "services"),
    ("args", "command"),
    ("autoreload", "watch"),
    ("autorestart", "restart"),
    ("autostart", "enabled"),
    ("bind", "listen"),
    ("chdir", "cwd"),
    ("cmd", "command"),
    ("cpus", "cpu"),
    ("delay", "debounce"),
    ("depends_on", "needs"),
    ("directory", "cwd"),
    ("disabled", "enabled: false"),
    ("dotenv", "env_file"),
    ("entrypoint", "command"),
    ("environment", "env"),
    ("exec", "command"),
    ("exclude", "ignore"),
    ("exec_start", "command"),
    ("extensions", "include"),
    ("healthcheck", "health"),
    ("ignore_watch", "watch.ignore"),
    ("killasgroup", "stop"),
    ("kill_signal", "stop.signal"),
    ("kill_timeout", "stop.timeout"),
    ("hook", "webhook"),
    ("log", "logs"),
    ("logging", "logs"),
    ("max_memory_restart", "memory_restart"),
    ("max_rss", "memory_restart"),
    ("max_restarts", "restart.limit.count"),
    ("mem", "memory"),
    ("mem_limit", "limits.memory"),
    ("memory_limit", "limits.memory"),
    ("memory_max", "limits.memory"),
    ("notifications", "notify"),
    ("numprocs", "instances"),
    ("out_file", "logs.file"),
    ("patterns", "include"),
    ("ports", "port"),
    ("processes", "instances"),
    ("program", "command"),
    ("programs", "services"),
    ("prometheus", "metrics"),
    ("replicas", "instances"),
    ("requires", "needs"),
    ("restart_policy", "restart"),
    ("script", "command"),
    ("signal", "how"),
    ("sockets", "listen"),
    ("startretries", "restart.limit.count"),
    ("stdout_logfile", "logs.file"),
    ("stop_grace_period", "stop.timeout"),
    ("stop_signal", "stop.signal"),
    ("stopsignal", "stop.signal"),
    ("stopwaitsecs", "stop.timeout"),
    ("retention", "keep"),
    ("ulimits", "limits"),
    ("url", "webhook"),
    ("wants", "needs"),
    ("watch_delay", "watch.debounce"),
    ("workdir", "cwd"),
    ("working_dir", "cwd"),
    ("working_directory", "cwd"),
];

/// The candidate a person most likely meant, when one is near enough.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    // One slip in a short word, two in a usual one, three in a long one.
    let slips = match word.chars().count() {
        0..=1 => return None,
        2..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to write instead of `key`, which `section` does not have; empty when nothing comes to mind.
pub(super) fn key_help(key: &str, section: &Section) -> String {
    let lower = key.to_ascii_lowercase().replace('-', "_");
    if let Some((_, here)) = ELSEWHERE.iter().find(|(there, here)| *there == lower && fits(here, section)) {
        return format!("everup calls it `{here}`");
    }
    if let Some(near) = nearest(key, section.keys.iter().map(|key| key.name)) {
        return format!("did you mean `{near}`?");
    }
    let homes: Vec<&str> =
        keys::sections().into_iter().filter(|other| other.key(&lower).is_some()).map(|other| other.title).collect();
    if !homes.is_empty() {
        return format!("`{lower}` belongs {}", homes.join(" or "));
    }
    let names: Vec<&str> =
        section.keys.iter().filter(|key| !matches!(key.shape, Shape::Later)).map(|key| key.name).collect();
    format!("the keys {} are {}", section.title, names.join(", "))
}

/// Whether the first step of `here` is a key of `section`.
fn fits(here: &str, section: &Section) -> bool {
    let first = here.split(['.', ':']).next().unwrap_or(here);
    section.key(first).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_word() {
        let words = ["restart", "health", "env", "env_file", "cwd"];
        for (word, near) in [
            ("restrat", Some("restart")),
            ("Health", Some("health")),
            ("env-file", Some("env_file")),
            ("evn", Some("env")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
    }

    #[test]
    fn words_of_other_tools_get_ours() {
        for (word, help) in [
            ("depends_on", "everup calls it `needs`"),
            ("healthcheck", "everup calls it `health`"),
            ("environment", "everup calls it `env`"),
            ("autorestart", "everup calls it `restart`"),
            ("replicas", "everup calls it `instances`"),
            ("numprocs", "everup calls it `instances`"),
            ("working_dir", "everup calls it `cwd`"),
            ("directory", "everup calls it `cwd`"),
            ("max_memory_restart", "everup calls it `memory_restart`"),
            ("stopsignal", "everup calls it `stop.signal`"),
            ("exit_with", "`exit_with` belongs at the top of the file"),
        ] {
            assert_eq!(key_help(word, &keys::SERVICE), help, "{word}");
        }
    }
}
