use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::model::template::{Part, Template};

const PATIENCE: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// What a server does with one connection, once it has read the request.
#[derive(Clone)]
enum Answer {
    /// Says this and closes.
    Says(Vec<u8>),
    /// Says this, then keeps the connection open.
    SaysAndHolds(Vec<u8>),
    /// Says this, then a byte every 20 ms for ever.
    Trickles(Vec<u8>),
    /// Says this, then as much as the other side takes.
    Floods(Vec<u8>),
}

fn says(text: &str) -> Answer {
    Answer::Says(text.as_bytes().to_vec())
}

/// A status line, a length and a body.
fn whole(status: &str, body: &str) -> Answer {
    says(&format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// Serves one connection after the other in the background; gives the port and the requests' heads.
async fn serve(answer: Answer) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, received) = tokio::sync::mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse_as_server(stream, answer.clone(), heads.clone()));
        }
    });
    (port, received)
}

async fn converse_as_server(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Answer,
    heads: tokio::sync::mpsc::Sender<String>,
) {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    heads.send(String::from_utf8(head).unwrap()).await.ok();
    let (Answer::Says(text) | Answer::SaysAndHolds(text) | Answer::Trickles(text) | Answer::Floods(text)) = &answer;
    stream.write_all(text).await.ok();
    match answer {
        Answer::Says(_) => {}
        Answer::SaysAndHolds(_) => drop(stream.read_u8().await),
        Answer::Trickles(_) => {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Answer::Floods(_) => while stream.write_all(&[b'x'; 8_192]).await.is_ok() {},
    }
}

fn probe(url: &str) -> HttpProbe {
    HttpProbe {
        url: Template::text(url),
        socket: None,
        method: "GET".to_owned(),
        headers: BTreeMap::new(),
        status: vec![(200, 399)],
        body: None,
        insecure: false,
    }
}

const SLOTS: Slots = Slots { index: 1, port: None };

async fn asked(probe: &HttpProbe, timeout: Duration) -> (Verdict, Option<String>) {
    ask(&Tools::default(), probe, SLOTS, timeout).await
}

fn health(port: u16) -> HttpProbe {
    probe(&format!("http://127.0.0.1:{port}/health"))
}

fn pass(message: &str) -> Verdict {
    Verdict::Pass { message: message.to_owned() }
}

#[tokio::test]
async fn the_status_is_the_verdict() {
    let no_reason = "299 Odd";
    for (status, accepted, wanted) in [
        ("200 OK", vec![(200, 399)], pass("200 OK")),
        ("200 Whatever", vec![(200, 399)], pass("200 OK")),
        ("204 No Content", vec![(204, 204)], pass("204 No Content")),
        (no_reason, vec![(200, 299)], pass("299")),
        ("200 OK", vec![(204, 204)], reason::fail("200 OK")),
        ("418 I'm a teapot", vec![(200, 299), (418, 418)], pass("418 I'm a teapot")),
        ("500 Internal Server Error", vec![(200, 399)], reason::fail("500 Internal Server Error")),
        ("503 Service Unavailable", vec![(200, 399)], reason::fail("503 Service Unavailable")),
        ("400 Bad Request", vec![(200, 399)], reason::fail("400 Bad Request")),
    ] {
        let (port, _) = serve(says(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))).await;
        let question = HttpProbe { status: accepted, ..health(port) };
        assert_eq!(asked(&question, PATIENCE).await, (wanted, None), "{status}");
    }
}

#[tokio::test]
async fn the_request_is_what_was_configured_and_asks_for_an_end_of_the_connection() {
    let (port, mut heads) = serve(whole("200 OK", "fine")).await;
    let question = HttpProbe {
        url: Template::new(vec![
            Part::Text("http://localhost:".to_owned()),
            Part::Port,
            Part::Text("/a?b=1".to_owned()),
        ]),
        method: "POST".to_owned(),
        headers: [("X-Index".to_owned(), Template::new(vec![Part::Index]))].into(),
        ..health(port)
    };
    let (verdict, body) = ask(&Tools::default(), &question, Slots { index: 3, port: Some(port) }, PATIENCE).await;
    assert_eq!((verdict, body.as_deref()), (pass("200 OK"), Some("fine")));
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("post /a?b=1 http/1.1\r\n"), "{head}");
    for line in [
        format!("host: localhost:{port}"),
        "x-index: 3".to_owned(),
        "connection: close".to_owned(),
        format!("user-agent: everup/{}", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (other, mut asked_too) = serve(whole("500 Internal Server Error", "")).await;
    let (port, _) =
        serve(says(&format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\n\r\n")))
            .await;
    assert_eq!(asked(&health(port), PATIENCE).await.0, pass("302 Found"));
    let strict = HttpProbe { status: vec![(200, 299)], ..health(port) };
    assert_eq!(asked(&strict, PATIENCE).await.0, reason::fail("302 Found"));
    assert!(asked_too.try_recv().is_err());
}

#[tokio::test]
async fn silence_and_bodies_that_do_not_end_run_into_the_one_deadline() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let body = |status: &str| format!("{status}, but its body did not end within 300ms");
    for (answer, message) in [
        (Answer::SaysAndHolds(vec![]), "no answer within 300ms".to_owned()),
        (Answer::SaysAndHolds(b"HTTP/1.1 200 O".to_vec()), "no answer within 300ms".to_owned()),
        (Answer::SaysAndHolds(head.clone()), body("200 OK")),
        (Answer::Trickles(head), body("200 OK")),
        (Answer::Trickles(b"HTTP/1.1 500 Oops\r\n\r\n".to_vec()), body("500 Internal Server Error")),
        (Answer::Trickles(b"HTTP/1.1 200 OK\r\nX-".to_vec()), "no answer within 300ms".to_owned()),
    ] {
        let (port, _) = serve(answer).await;
        let begun = tokio::time::Instant::now();
        let (verdict, _) = asked(&health(port), SHORT).await;
        assert_eq!(verdict, Verdict::Fail { message, how: Failure::Timeout });
        assert!(begun.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn of_a_huge_body_64_kib_are_read_and_4_shown() {
    let (port, _) = serve(Answer::Floods(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n".to_vec())).await;
    let (verdict, body) = asked(&health(port), PATIENCE).await;
    assert_eq!((verdict, body.unwrap().len()), (pass("200 OK"), EXCERPT));
    let late = HttpProbe { body: Some("needle".to_owned()), ..health(port) };
    assert_eq!(asked(&late, PATIENCE).await.0, reason::fail("body does not match /needle/"));
}

#[tokio::test]
async fn the_body_must_match_where_a_pattern_is_given() {
    let (port, _) = serve(says(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ok\"\r\n6\r\n: true\r\n1\r\n}\r\n0\r\n\r\n",
    ))
    .await;
    for (pattern, wanted) in [
        (r#""ok":\s*true"#, pass("200 OK")),
        (r#"^\{"ok": true\}$"#, pass("200 OK")),
        ("false", reason::fail("body does not match /false/")),
    ] {
        let question = HttpProbe { body: Some(pattern.to_owned()), ..health(port) };
        assert_eq!(asked(&question, PATIENCE).await.0, wanted);
    }
    let (port, _) = serve(says("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nfine")).await;
    let question = HttpProbe { body: Some("fine".to_owned()), ..health(port) };
    assert_eq!(asked(&question, PATIENCE).await.0, reason::fail("500 Internal Server Error"));
    let (port, _) = serve(Answer::Says(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe ok \x00".to_vec())).await;
    let question = HttpProbe { body: Some(" ok ".to_owned()), ..health(port) };
    assert_eq!(asked(&question, PATIENCE).await.0, pass("200 OK"));
}

#[tokio::test]
async fn what_is_not_http_fails_saying_so() {
    for (answer, wanted) in [
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "did not answer in HTTP"),
        ("\0\x01\x02\x03 garbage \r\n\r\n", "did not answer in HTTP"),
        ("HTTP/9.9 banana\r\n\r\n", "did not answer in HTTP"),
        ("", "closed the connection without a whole answer"),
        ("HTTP/1.1 200 OK\r\nContent-", "closed the connection without a whole answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "200 OK, but "),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "200 OK, but "),
    ] {
        let (port, _) = serve(says(answer)).await;
        let (verdict, _) = asked(&health(port), PATIENCE).await;
        let Verdict::Fail { message, how: Failure::Error } = &verdict else { panic!("{answer:?}: {verdict:?}") };
        assert!(message.contains(wanted), "{answer:?}: {message}");
    }
}

#[tokio::test]
async fn where_nobody_listens_the_refusal_names_the_address() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(
        asked(&health(port), PATIENCE).await.0,
        reason::refused(format!("connection refused by 127.0.0.1:{port}"))
    );
    let local = probe(&format!("http://localhost:{port}/"));
    assert_eq!(asked(&local, PATIENCE).await.0, reason::refused(format!("connection refused by localhost:{port}")));
    for (url, wanted) in [
        ("http://no-such-host.invalid/", "dns: cannot find the address of no-such-host.invalid"),
        ("nonsense", "cannot read the URL"),
        ("http://127.0.0.1:99999/", "cannot read the URL"),
    ] {
        let (verdict, _) = asked(&probe(url), PATIENCE).await;
        assert!(matches!(&verdict, Verdict::Fail { message, .. } if message.starts_with(wanted)), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_header_or_method_that_cannot_be_sent_fails_saying_so() {
    for broken in [
        HttpProbe { method: "NOT A METHOD".to_owned(), ..health(1) },
        HttpProbe { headers: [("bad name".to_owned(), Template::text("x"))].into(), ..health(1) },
        HttpProbe { headers: [("x".to_owned(), Template::text("line\nbreak"))].into(), ..health(1) },
    ] {
        let (verdict, _) = asked(&broken, PATIENCE).await;
        assert!(matches!(verdict, Verdict::Fail { how: Failure::Error, .. }), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_asked_also_under_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x".repeat(150));
    std::fs::create_dir(&deep).unwrap();
    let over = |path: &Path| HttpProbe { socket: Some(path.to_owned()), ..probe("http://app/health") };
    for folder in [dir.path(), &deep] {
        let path = folder.join("app.sock");
        assert_eq!(
            asked(&over(&path), PATIENCE).await.0,
            reason::refused(format!("there is no socket at {}", path.display()))
        );
        let listener = UnixListener::bind(reachable(&path).unwrap().0);
        let listener = listener
            .or_else(|_| {
                let (short, _held) = reachable(&path)?;
                UnixListener::bind(short)
            })
            .unwrap();
        let (heads, mut received) = tokio::sync::mpsc::channel(9);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                converse_as_server(stream, whole("200 OK", "hello"), heads.clone()).await;
            }
        });
        let tools = Tools::default();
        for _ in 0..3 {
            assert_eq!(ask(&tools, &over(&path), SLOTS, PATIENCE).await, (pass("200 OK"), Some("hello".to_owned())));
            assert!(received.recv().await.unwrap().contains("host: app\r\n"));
        }
        server.abort();
        assert!(server.await.is_err());
        // A process that another test is just starting may hold the listener for a moment more.
        let answers = [
            reason::refused(format!("connection refused by {}", path.display())),
            reason::error(format!("connection reset by {}", path.display())),
        ];
        let answer = asked(&over(&path), PATIENCE).await.0;
        assert!(answers.contains(&answer), "{answer:?}");
    }
}

/// Serves TLS with a certificate that nobody knows, on a thread, until the listener's clients stop coming.
fn serve_tls() -> u16 {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        while let Ok((tcp, _)) = listener.accept() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, tcp);
            let mut head = [0; 4_096];
            if stream.read(&mut head).is_ok() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").ok();
                stream.conn.send_close_notify();
                stream.flush().ok();
            }
        }
    });
    port
}

#[tokio::test]
async fn an_unknown_certificate_passes_only_where_that_is_allowed() {
    let port = serve_tls();
    let tools = Tools::default();
    for host in ["127.0.0.1", "localhost"] {
        let question = probe(&format!("https://{host}:{port}/health"));
        let insecure = HttpProbe { insecure: true, ..question.clone() };
        assert_eq!(ask(&tools, &insecure, SLOTS, PATIENCE).await, (pass("200 OK"), Some("secret".to_owned())));
        let (verdict, _) = ask(&tools, &question, SLOTS, PATIENCE).await;
        let Verdict::Fail { message, how: Failure::Error } = &verdict else { panic!("{verdict:?}") };
        let known = [format!("the certificate of {host}:{port} is not valid"), "cannot prepare the request".to_owned()];
        assert!(known.iter().any(|text| message.starts_with(text.as_str())), "{message}");
    }
}

#[tokio::test]
async fn plain_and_encrypted_mixed_up_fails_saying_so() {
    let tls = serve_tls();
    let (verdict, _) = asked(&health(tls), PATIENCE).await;
    assert!(matches!(&verdict, Verdict::Fail { how: Failure::Error, .. }), "{verdict:?}");
    let (plain, _) = serve(whole("200 OK", "")).await;
    let question = HttpProbe { insecure: true, ..probe(&format!("https://127.0.0.1:{plain}/")) };
    let (verdict, _) = asked(&question, SHORT).await;
    assert!(matches!(verdict, Verdict::Fail { .. }), "{verdict:?}");
}

#[test]
fn garbage_never_panics_and_never_passes_unless_it_is_http() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tools = Tools::default();
    let piece = prop_oneof![
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Content-Length: 99999999999999999999\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"ffffffffffffffff\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let cases = proptest::collection::vec(piece, 0..8);
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) }, |(pieces in cases)| {
        let bytes = pieces.concat();
        // Empty lines before an answer are tolerated, as RFC 9112 advises.
        let starts_right = bytes.trim_ascii_start().starts_with(b"HTTP/1.");
        let verdict = runtime.block_on(async {
            let (port, _heads) = serve(Answer::Says(bytes)).await;
            let question = HttpProbe { body: Some("[a-z]".to_owned()), ..health(port) };
            ask(&tools, &question, SLOTS, PATIENCE).await.0
        });
        prop_assert!(starts_right || matches!(verdict, Verdict::Fail { how: Failure::Error, .. }), "{:?}", verdict);
    });
}
