//! The screen as a whole, from a canned project, and what keys do to it.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use unicode_width::UnicodeWidthStr as _;

use crate::cli::show::event::tests::event;
use crate::cli::top::app::{App, Effect, News};
use crate::cli::top::draw::draw;
use crate::cli::top::look::Look;
use crate::client::action::Action;
use crate::model::event::{EventRecord, EventWord};
use crate::model::log::{LogLine, Stream};
use crate::model::names::{Pid, Run, ServiceName};
use crate::model::overview::{InstanceOverview, Latency, Overview, Point, ProbeTick, ServiceOverview};
use crate::model::service::{Cause, Certainty, Desired, State};
use crate::model::status::{LastEnd, OwnUsage, ServiceKind};
use crate::model::units::Timestamp;
use crate::model::usage::{HostUsage, Usage};

/// 2025-11-20 10:00:05 UTC, as in the canned events.
const NOW: i64 = 1_763_632_805_000;
const MIB: u64 = 1 << 20;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// One that runs, with five minutes behind it.
fn running(label: &str, index: u32, cpu: f64) -> InstanceOverview {
    let point = |number: i64| Point {
        at: Timestamp(NOW - (59 - number) * 5_000),
        cpu_percent: (number != 20).then(|| cpu + cpu * f64::from(i32::try_from(number % 12).unwrap()) / 12.0),
        memory_bytes: (40 + u64::try_from(number).unwrap()) * MIB,
    };
    let probe = |number: i64| ProbeTick {
        at: Timestamp(NOW - (49 - number) * 10_000),
        ok: number != 30,
        ms: 1.25,
        message: (number == 30).then(|| "503 Service Unavailable".to_owned()),
    };
    InstanceOverview {
        name: label.to_owned(),
        index,
        state: State::Running,
        ready: true,
        healthy: Some(true),
        reason: None,
        pid: Some(Pid(4_821)),
        run: Some(Run(3)),
        started_at: Some(Timestamp(NOW - 7_860_000)),
        uptime_ms: Some(7_860_000),
        next_attempt_in_ms: None,
        restarts: 2,
        last_end: None,
        usage: Some(Usage {
            cpu_percent: Some(cpu),
            memory_bytes: 99 * MIB,
            memory_percent: Some(1.25),
            processes: 4,
            threads: 12,
            open_fds: 34,
            max_fds: Some(1_024),
            ..Usage::default()
        }),
        recent: (0..60).map(point).collect(),
        probes: (0..50).map(probe).collect(),
        latency: Some(Latency { last_ms: 1.25, p50_ms: 1.2, p99_ms: 41.0 }),
    }
}

/// One that has ended.
fn ended(label: &str, state: State) -> InstanceOverview {
    InstanceOverview {
        state,
        ready: false,
        healthy: None,
        pid: None,
        started_at: None,
        uptime_ms: None,
        usage: None,
        recent: vec![],
        probes: vec![],
        latency: None,
        next_attempt_in_ms: (state == State::Backoff).then_some(4_200),
        restarts: 17,
        last_end: Some(LastEnd {
            run: Run(17),
            cause: Cause::Exit,
            certainty: Certainty::Certain,
            code: Some(3),
            signal: None,
            at: Timestamp(NOW - 12_000),
            ran_ms: 2_300,
        }),
        ..running(label, 1, 0.0)
    }
}

fn service(of: &str, instances: Vec<InstanceOverview>) -> ServiceOverview {
    let first = &instances[0];
    ServiceOverview {
        name: name(of),
        kind: ServiceKind::Service,
        state: first.state,
        desired: if first.state == State::Stopped { Desired::Down } else { Desired::Up },
        ready: first.ready,
        healthy: first.healthy,
        crash_looping: first.state == State::Backoff,
        cause: None,
        reason: None,
        restarts: first.restarts,
        warnings: vec![],
        requests: None,
        instances,
    }
}

fn overview() -> Overview {
    let mut sick = running("api/2", 2, 61.0);
    sick.healthy = Some(false);
    if let Some(last) = sick.probes.last_mut() {
        (last.ok, last.message) = (false, Some("timed out after 2s".to_owned()));
    }
    Overview {
        v: 1,
        at: Timestamp(NOW),
        project: "shop".to_owned(),
        version: "1.2.3".to_owned(),
        started_at: Timestamp(NOW - 90_000_000),
        own: OwnUsage { cpu_percent: Some(0.1), memory_bytes: Some(14 * MIB) },
        host: HostUsage {
            cpus: 8,
            cpu_percent: Some(23.0),
            memory_bytes: 16 << 30,
            memory_available_bytes: 10 << 30,
            load: [0.42, 0.3, 0.2],
            ..HostUsage::default()
        },
        warnings: vec![],
        services: vec![
            service("web", vec![running("web", 1, 12.0)]),
            service("api", vec![running("api/1", 1, 3.0), sick]),
            service("worker-with-a-long-name", vec![ended("worker-with-a-long-name", State::Backoff)]),
            service("mail", vec![ended("mail", State::Stopped)]),
        ],
    }
}

fn app() -> App {
    let mut app = App::new(Look::new(true, "xterm-256color"));
    app.on(News::Connected);
    app.on(News::Overview(Box::new(overview())));
    app.on(News::Event(Box::new(event(EventWord::Started))));
    app.on(News::Event(Box::new(EventRecord { ran_ms: Some(212), ..event(EventWord::Ready) })));
    let other =
        EventRecord { service: Some(name("mail")), instance: Some("mail".to_owned()), ..event(EventWord::Held) };
    app.on(News::Event(Box::new(other)));
    app.log.begin(1);
    for number in 1..=40 {
        let line = LogLine {
            v: 1,
            at: Timestamp(NOW + number),
            service: name("web"),
            instance: "web".to_owned(),
            run: Run(3),
            stream: Stream::Stdout,
            line: format!(
                "\x1b[32mline {number}\x1b[0m 한국어\x1b[2J and so on, further than eighty columns go, far further"
            ),
        };
        app.on(News::Line(1, Box::new(line)));
    }
    app
}

fn key(app: &mut App, code: KeyCode) -> Option<Effect> {
    app.on(News::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn screen(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..width {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skip = symbol.width().saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Holds a screen against `tests/data/top/NAME.txt`; with EVERUP_BLESS set it is written there instead.
fn holds(name: &str, shown: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/top").join(format!("{name}.txt"));
    if std::env::var_os("EVERUP_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert_eq!(shown, expected, "\n{name} is shown as\n{shown}");
}

#[test]
fn every_view_at_both_sizes_is_as_it_was_looked_at() {
    for (width, height) in [(80, 24), (200, 50)] {
        let mut app = app();
        holds(&format!("table-{width}x{height}"), &screen(&app, width, height));
        key(&mut app, KeyCode::Char('?'));
        holds(&format!("help-{width}x{height}"), &screen(&app, width, height));
        key(&mut app, KeyCode::Char('?'));
        key(&mut app, KeyCode::Enter);
        holds(&format!("detail-{width}x{height}"), &screen(&app, width, height));
        key(&mut app, KeyCode::Char('l'));
        key(&mut app, KeyCode::Up);
        holds(&format!("log-{width}x{height}"), &screen(&app, width, height));
    }
}

#[test]
fn no_size_makes_it_panic() {
    let mut app = app();
    for view in ["", "e", "l"] {
        for letter in view.chars() {
            key(&mut app, if letter == 'e' { KeyCode::Enter } else { KeyCode::Char(letter) });
        }
        for width in (1..70).chain([79, 120, 300]) {
            for height in [1, 2, 3, 4, 5, 7, 10, 24] {
                for help in [false, true] {
                    app.shows_help = help;
                    screen(&app, width, height);
                }
            }
        }
        app.shows_help = false;
    }
    screen(&App::new(Look::new(false, "linux")), 80, 24);
}

#[test]
fn a_console_with_few_signs_gets_only_those() {
    let mut app = app();
    app.look = Look::new(false, "linux");
    for enter in [false, true] {
        if enter {
            key(&mut app, KeyCode::Enter);
        }
        let shown = screen(&app, 100, 30);
        let odd = |letter: &char| "●◐✗○▁▂▃▅▆▇".contains(*letter) || ('\u{2800}'..='\u{28ff}').contains(letter);
        assert_eq!(shown.chars().find(odd), None, "{shown}");
    }
}

#[test]
fn an_action_is_asked_about_and_only_y_does_it() {
    let mut app = app();
    for (code, selected, question, expected) in [
        ('r', 0, "restart web?", Action::Restart { selector: "web".to_owned(), now: false }),
        ('R', 1, "reload api/1?", Action::Reload("api/1".to_owned())),
        ('x', 1, "stop api/1?", Action::Stop("api/1".to_owned())),
        ('x', 4, "start mail?", Action::Start("mail".to_owned())),
        ('x', 3, "stop worker-with-a-long-name?", Action::Stop("worker-with-a-long-name".to_owned())),
    ] {
        key(&mut app, KeyCode::Home);
        (0..selected).for_each(|_| drop(key(&mut app, KeyCode::Char('j'))));
        for (answer, effect) in [('n', None), ('q', None), ('y', Some(Effect::Act(expected.clone())))] {
            assert_eq!(key(&mut app, KeyCode::Char(code)), None);
            assert!(screen(&app, 80, 24).contains(question), "{question}");
            assert_eq!(key(&mut app, KeyCode::Char(answer)), effect, "{code} {answer}");
        }
    }
    app.on(News::Done(crate::cli::output::Tone::Bad, "cannot reload db: it has no reload".to_owned()));
    assert!(screen(&app, 80, 24).contains("cannot reload db: it has no reload"));
    key(&mut app, KeyCode::Down);
    assert!(!screen(&app, 80, 24).contains("cannot reload db"), "said until the next key");
}

fn order(app: &App) -> Vec<String> {
    app.rows().iter().map(|row| row.name().to_owned()).collect()
}

#[test]
fn rows_are_sorted_and_filtered_and_the_selected_one_stays() {
    let mut app = app();
    key(&mut app, KeyCode::Down);
    for expected in [
        ["api/2", "web", "api/1", "worker-with-a-long-name", "mail"],
        ["web", "api/1", "api/2", "worker-with-a-long-name", "mail"],
        ["worker-with-a-long-name", "mail", "web", "api/1", "api/2"],
        ["api/2", "worker-with-a-long-name", "web", "api/1", "mail"],
        ["api/1", "api/2", "mail", "web", "worker-with-a-long-name"],
        ["web", "api/1", "api/2", "worker-with-a-long-name", "mail"],
    ] {
        key(&mut app, KeyCode::Char('s'));
        assert_eq!(order(&app), expected, "{:?}", app.sort);
        assert_eq!(app.selection(&app.rows()).map(|(_, row)| row.name()), Some("api/1"));
    }
    key(&mut app, KeyCode::Char('/'));
    "API".chars().for_each(|letter| drop(key(&mut app, KeyCode::Char(letter))));
    assert_eq!(order(&app), ["api/1", "api/2"]);
    assert!(screen(&app, 80, 24).contains("/API_"));
    key(&mut app, KeyCode::Enter);
    assert_eq!(order(&app).len(), 2);
    key(&mut app, KeyCode::Esc);
    assert_eq!(order(&app).len(), 5);
    key(&mut app, KeyCode::Char('/'));
    "backoff".chars().for_each(|letter| drop(key(&mut app, KeyCode::Char(letter))));
    assert_eq!(order(&app), ["worker-with-a-long-name"]);
    key(&mut app, KeyCode::Char('q'));
    assert_eq!(order(&app), Vec::<String>::new());
    assert!(screen(&app, 80, 24).contains("Esc shows all"));
    // Esc with a key right behind it.
    app.on(News::Key(KeyEvent::new(KeyCode::Char('j'), KeyModifiers::ALT)));
    assert_eq!((order(&app).len(), app.filter.as_str()), (5, ""));
}

#[test]
fn any_key_closes_the_help_and_does_nothing_else() {
    let mut app = app();
    for letter in ['q', 'r', 'x'] {
        key(&mut app, KeyCode::Char('?'));
        assert!(app.shows_help);
        assert_eq!((key(&mut app, KeyCode::Char(letter)), app.shows_help), (None, false), "{letter}");
    }
}

#[test]
fn q_leaves_from_everywhere_and_esc_goes_back() {
    let mut app = app();
    for keys in ["", "e", "el", "l"] {
        for letter in keys.chars() {
            key(&mut app, if letter == 'e' { KeyCode::Enter } else { KeyCode::Char(letter) });
        }
        assert_eq!(key(&mut app, KeyCode::Char('q')), Some(Effect::Quit), "{keys}");
        let control = |letter| News::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        assert_eq!(app.on(control('c')), Some(Effect::Quit));
        assert_eq!(app.on(control('z')), Some(Effect::Suspend));
        keys.chars().for_each(|_| drop(key(&mut app, KeyCode::Esc)));
        assert!(screen(&app, 80, 24).contains("NAME"), "{keys}");
    }
}

#[test]
fn what_is_new_is_added_and_what_is_known_is_kept() {
    let mut app = app();
    let mut new = overview();
    for instance in new.services.iter_mut().flat_map(|service| &mut service.instances) {
        let last = instance.recent.last().copied();
        // The newest point comes again within its five seconds, and takes the place of the one before it.
        instance.recent = last.into_iter().map(|point| Point { memory_bytes: 7, ..point }).collect();
        instance.recent.extend(last.map(|point| Point { at: Timestamp(point.at.0 + 5_000), ..point }));
        instance.probes = vec![ProbeTick { at: Timestamp(NOW + 1), ok: true, ms: 2.0, message: None }];
    }
    app.on(News::Overview(Box::new(new.clone())));
    let web = app.rows()[0].instance.unwrap().clone();
    assert_eq!((web.recent.len(), web.probes.len()), (60, 50));
    assert_eq!(web.recent[58].memory_bytes, 7);
    assert_eq!(web.probes[49].ms.to_bits(), 2.0_f64.to_bits());
    // After a connection was lost everything comes anew.
    app.on(News::Lost("everup has ended".to_owned()));
    assert!(screen(&app, 80, 24).contains("everup has ended: these are the last figures"));
    app.on(News::Connected);
    app.on(News::Overview(Box::new(new)));
    assert_eq!(app.rows()[0].instance.unwrap().recent.len(), 2);
    assert!(!screen(&app, 80, 24).contains("has ended"));
}

#[test]
fn a_log_that_is_read_further_up_does_not_move() {
    let mut app = app();
    key(&mut app, KeyCode::Char('l'));
    (0..3).for_each(|_| drop(key(&mut app, KeyCode::Up)));
    let before = screen(&app, 100, 10);
    assert!(before.contains("line 37") && !before.contains("line 38"), "{before}");
    app.on(News::LinesLost(1, 12));
    app.on(News::LinesLost(2, 99));
    let body = |shown: &str| shown.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&screen(&app, 100, 10)), body(&before));
    key(&mut app, KeyCode::End);
    let end = screen(&app, 100, 10);
    assert!(end.contains("12 lines are missing here") && !end.contains("99 lines"), "{end}");
}

#[test]
fn without_colours_nothing_is_coloured() {
    let mut app = app();
    app.look = Look::new(false, "xterm");
    for code in [KeyCode::Null, KeyCode::Enter, KeyCode::Char('l')] {
        key(&mut app, code);
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        terminal.draw(|frame| draw(frame, &app)).unwrap();
        let coloured =
            terminal.backend().buffer().content().iter().find(|cell| cell.fg != ratatui::style::Color::Reset);
        assert_eq!(coloured, None);
    }
}
