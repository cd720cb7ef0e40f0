//! NOTIFY_SOCKET: what a service says of itself counts, what a stranger says does not.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::support::{Project, data, wait_for};

/// A service that sends these words (see `tests/data/notify.py`) with these further keys.
fn notifier(words: &str, keys: &str) -> String {
    let script = data("notify.py");
    format!("services:\n  web:\n    command: python3 {} {words}\n{keys}", script.display())
}

fn address(project: &Project) -> SocketAddr {
    wait_for("the service to know its socket", || !project.read("address").is_empty());
    let address = project.read("address");
    SocketAddr::from_abstract_name(address.strip_prefix('@').expect("an abstract address")).expect("an address")
}

#[test]
fn ready_comes_with_its_word_and_not_with_a_strangers() {
    let project = Project::up(&notifier("until:go STATUS=warm READY=1", "    health: {notify: true}\n"));
    let address = address(&project);
    let stranger = UnixDatagram::unbound().expect("a socket");
    stranger.send_to_addr(b"READY=1", &address).expect("it is open to all who know it");
    wait_for("the stranger to be noticed", || project.read(".everup/everup.log").contains("not of this service"));
    let web = project.service("web");
    assert_eq!((web["state"].as_str(), web["ready"].as_bool()), (Some("starting"), Some(false)));
    project.write("go", "");
    project.wait_ready("web");
    assert_eq!(project.service("web")["restarts"], 0);
}

#[test]
fn a_child_of_the_service_may_speak_for_it() {
    let script = data("notify.py");
    let project = Project::up(&format!(
        "services:\n  web: {{command: 'sh -c \"python3 {} READY=1 & wait\"', health: {{notify: true}}}}\n",
        script.display()
    ));
    project.wait_ready("web");
}

#[test]
fn without_its_word_the_start_runs_out_of_time() {
    let project = Project::up(&notifier(
        "READY=0 ready=1",
        "    health: {notify: true, start_timeout: 500ms}\n    restart: never\n",
    ));
    project.wait_service("web", "to be given up", |web| web["instances"][0]["last_end"]["cause"] == "start_timeout");
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["certainty"].as_str()), (Some("start_timeout"), Some("certain")), "{why:#}");
}

#[test]
fn a_start_that_asks_for_more_time_gets_it() {
    let words = "EXTEND_TIMEOUT_USEC=40000000 sleep:2 READY=1";
    let project = Project::up(&notifier(words, "    health: {notify: true, start_timeout: 1s}\n"));
    project.wait_ready("web");
    let web = project.instance("web", 0);
    assert_eq!((web["run"].as_u64(), web["restarts"].as_u64()), (Some(1), Some(0)), "{web:#}");
}

#[test]
fn a_watchdog_that_is_no_longer_fed_restarts_it() {
    let mut project = Project::new(&notifier(
        "READY=1 beat",
        "    health: {notify: true}\n    watchdog: 2s\n    restart: {delay: 100ms}\n    stop: {timeout: 1s}\n",
    ));
    project.write("beat", "");
    project.start(&["up"]);
    project.wait_ready("web");
    let fed_ms = || project.instance("web", 0)["uptime_ms"].as_u64() >= Some(3_000);
    wait_for("it to outlive its watchdog, being fed", fed_ms);
    assert_eq!(project.instance("web", 0)["run"], 1);
    std::fs::remove_file(project.path("beat")).expect("the mark");
    project.wait_service("web", "to be restarted", |web| web["instances"][0]["run"].as_u64() >= Some(2));
    let why = project.why("web");
    assert_eq!((why["cause"].as_str(), why["certainty"].as_str()), (Some("watchdog"), Some("certain")), "{why:#}");
}

#[test]
fn a_service_that_knows_itself_broken_triggers_its_watchdog() {
    let project = Project::up(&notifier(
        "READY=1 until:broken WATCHDOG=trigger",
        "    health: {notify: true}\n    watchdog: 1h\n    restart: {delay: 20s, reset_after: 1h}\n",
    ));
    project.wait_ready("web");
    project.write("broken", "");
    project.wait_service("web", "to be ended", |web| web["instances"][0]["last_end"]["cause"] == "watchdog");
}
