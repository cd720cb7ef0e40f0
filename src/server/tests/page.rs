//! The page as a visitor gets it.

use std::io::Read as _;

use crate::model::command::Denied;
use crate::model::overview::{Overview, Requests};
use crate::model::service::{Desired, State};
use crate::model::units::Timestamp;
use crate::server::page::words::Words;
use crate::server::page::{assets, table_page};
use crate::server::tests::canned;
use crate::server::tests::world::{Reply, TOKEN, Ways, World, ask};

const HOSTILE: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";

fn browser(world: &World, path: &str, more: &[(&str, &str)]) -> Reply {
    let host = world.tcp.to_string();
    let headers: Vec<(&str, &str)> =
        [("Host", host.as_str()), ("Accept", "text/html,*/*;q=0.8")].into_iter().chain(more.iter().copied()).collect();
    ask(world.tcp(), "GET", path, &headers, "")
}

fn overview() -> Overview {
    crate::server::overview::of_status(canned::status(&[("web", 2), ("worker", 1)]), Timestamp(1_763_632_900_000))
}

#[test]
fn a_page_carries_the_headers_that_keep_it_safe() {
    let world = World::new();
    for path in ["/", "/s/web", "/s/web/2", "/s/web%2F2", "/s/web?since=7d"] {
        let page = browser(&world, path, &[]);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"));
        // What the policy forbids is not there in the first place.
        assert!(!page.body.contains(" style=") && !page.body.contains("<style") && !page.body.contains(" onclick="));
        assert!(page.body.split("<script").skip(1).all(|script| script.starts_with(" src=\"/assets/")), "{path}");
    }
}

#[test]
fn what_others_wrote_is_text_and_nothing_else() {
    let mut overview = overview();
    overview.project = HOSTILE.to_owned();
    overview.warnings = vec![crate::model::status::Warning { code: "drift".to_owned(), message: HOSTILE.to_owned() }];
    let service = &mut overview.services[1];
    service.instances[0].state = State::Failed;
    service.instances[0].reason = Some(HOSTILE.to_owned());
    for words in Words::languages() {
        let page = table_page(&overview, words);
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
        assert!(page.matches("&lt;script&gt;alert('x')&lt;/script&gt;").count() >= 4, "{page}");
    }
    let denied = Denied { message: HOSTILE.to_owned(), ..crate::server::reply::bad("") };
    let refused = crate::server::page::refused::page(&denied, &axum::http::HeaderMap::new(), None);
    assert_eq!(refused.status(), 400);
    let world = World::new();
    let page = browser(&world, "/s/%3Cscript%3Ealert(1)%3C%2Fscript%3E", &[]);
    assert_eq!(page.status, 404);
    assert!(page.body.contains("&lt;script&gt;") && !page.body.contains("<script>"), "{}", page.body);
}

#[test]
fn the_page_speaks_the_visitors_language() {
    let world = World::new();
    for (wish, lang, word) in [("ko-KR,ko;q=0.9", "ko", "실행 중"), ("de,en;q=0.5", "en", "running")] {
        let page = browser(&world, "/", &[("Accept-Language", wish)]);
        assert!(page.body.contains(&format!("<html lang=\"{lang}\">")) && page.body.contains(word), "{wish}");
        assert!(page.header("vary").unwrap().contains("accept-language"));
    }
}

#[test]
fn a_missing_figure_is_never_a_zero() {
    let mut overview = overview();
    let page = |overview: &Overview| table_page(overview, Words::languages()[0]);
    let requests = |html: &str| {
        let cell =
            html.split("data-service=\"worker\"").nth(1).unwrap().split("<td class=\"requests\"").nth(1).unwrap();
        cell.split("</td>").next().unwrap().split_once('>').unwrap().1.to_owned()
    };
    let none = requests(&page(&overview));
    assert!(none.contains('–') && none.contains("log_metrics") && !none.contains('0'), "{none}");
    overview.services[1].requests = Some(Requests::default());
    let unseen = requests(&page(&overview));
    assert!(unseen.contains("no access lines seen") && !unseen.contains("/min"), "{unseen}");
    overview.services[1].requests = Some(Requests { seen: 1_200, last_minute: 0, errors_last_minute: 0 });
    assert!(requests(&page(&overview)).contains("0/min"));
    assert!(page(&overview).contains("no answer yet"), "no probe has been answered");
}

#[test]
fn a_state_is_told_by_word_and_shape() {
    let mut overview = overview();
    overview.services[1].instances[0].state = State::Failed;
    overview.services[1].instances[0].ready = false;
    overview.services[0].instances[1].state = State::Stopped;
    overview.services[0].desired = Desired::Down;
    let page = table_page(&overview, Words::languages()[0]);
    for (mark, word) in [("bad", "failed"), ("good", "running"), ("dim", "stopped")] {
        assert!(
            page.contains(&format!("<use href=\"#mark-{mark}\"></use></svg><span class=\"word\">{word}</span>")),
            "{word}"
        );
    }
    assert!(page.contains("<title>(1) shop – everup</title>") && page.contains("trouble.svg\" data-well"), "{page}");
}

#[test]
fn assets_are_kept_for_ever_under_their_hash_and_only_there() {
    let world = World::new();
    for name in [
        "page.css",
        "page.js",
        "service.js",
        "uPlot.js",
        "uPlot.css",
        "uPlot.LICENSE",
        "words.en.js",
        "words.ko.js",
        "well.svg",
        "trouble.svg",
    ] {
        let asset = browser(&world, &assets::address(name), &[]);
        assert_eq!(asset.status, 200, "{name}");
        assert!(asset.header("cache-control").unwrap().contains("immutable"));
        assert_eq!(asset.header("x-content-type-options"), Some("nosniff"));
    }
    assert!(browser(&world, &assets::address("uPlot.LICENSE"), &[]).body.contains("MIT License"));
    for path in ["/assets/0000000000000000/page.css", "/assets/page.css", "/assets/x/../page.css"] {
        assert_eq!(browser(&world, path, &[]).status, 404, "{path}");
    }
}

#[test]
fn people_are_refused_in_html_and_programs_in_json() {
    let world = World::new();
    for (path, status, text) in [
        ("/s/wbe", 404, "did you mean web?"),
        ("/nothing", 404, "there is no /nothing"),
        ("/s/web?since=2h", 400, "15m, 1h, 6h, 24h, 7d"),
    ] {
        let page = browser(&world, path, &[]);
        assert_eq!(page.status, status, "{path}");
        assert!(page.header("content-type").unwrap().starts_with("text/html") && page.body.contains(text), "{page:?}");
        let host = world.tcp.to_string();
        let json = ask(world.tcp(), "GET", path, &[("Host", &host)], "");
        assert_eq!((json.status, json.header("content-type")), (status, Some("application/json")), "{path}");
    }
    let foreign = ask(world.tcp(), "GET", "/", &[("Host", "evil.example"), ("Accept", "text/html")], "");
    assert_eq!(foreign.status, 403);
    assert!(foreign.body.contains("<h1>Refused</h1>") && foreign.header("content-security-policy").is_some());
}

#[test]
fn buttons_are_there_only_where_a_token_opens_the_door() {
    let world = World::new();
    let page = browser(&world, "/s/worker", &[]).body;
    assert!(page.contains("data-action=\"restart\"") && page.contains("type=\"password\"") && !page.contains(TOKEN));
    let closed = World::with(Ways { token: None, ..Ways::default() });
    let page = browser(&closed, "/s/worker", &[]).body;
    assert!(!page.contains("data-action") && page.contains("web.token_file is not set"), "{page}");
    assert!(page.contains("<code>everup restart worker</code>"));
    assert!(!world.get("/s/worker").body.contains("data-action"), "the control socket has no token");
}

#[test]
fn large_answers_are_packed_over_tcp_for_those_who_can_unpack_them() {
    let many: Vec<String> = (0..100).map(|n| format!("service-{n}")).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|name| (name.as_str(), 1)).collect();
    let world = World::with(Ways { status: canned::status(&many), ..Ways::default() });
    let host = world.tcp.to_string();
    let bytes = |path: &str, offer: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nAccept-Encoding: {offer}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = world.tcp();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        let split = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[..split]).to_lowercase(), answer[split + 4..].to_vec())
    };
    for path in ["/", "/v1/status", "/v1/overview", &assets::address("uPlot.js")] {
        let (head, packed) = bytes(path, "gzip, br");
        assert!(head.contains("content-encoding: gzip") && head.contains("vary:"), "{path}: {head}");
        assert!(head.contains(&format!("content-length: {}", packed.len())), "{path}: {head}");
        let mut unpacked = vec![];
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
        let (head, plain) = bytes(path, "identity");
        assert!(!head.contains("content-encoding") && head.contains("accept-encoding"), "{path}: {head}");
        assert_eq!(unpacked.len(), plain.len(), "{path}");
        assert!(
            packed.len() * 2 < plain.len() && packed.len() < 100 << 10,
            "{path}: {} of {}",
            packed.len(),
            plain.len()
        );
    }
    assert!(!bytes("/v1/services/service-1", "gzip").0.contains("content-encoding"), "a small one goes as it is");
    assert_eq!(
        ask(world.unix(), "GET", "/", &[("Host", "x"), ("Accept-Encoding", "gzip")], "").header("content-encoding"),
        None
    );
}
