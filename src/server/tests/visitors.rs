//! Who may come in.

use crate::os::socket::Peer;
use crate::server::tests::world::{TOKEN, Ways, World, ask};
use crate::server::{ServerError, TcpOptions, serve_tcp};

#[test]
fn a_stranger_on_the_control_socket_is_refused_whatever_it_asks() {
    let stranger = |_: &tokio::net::UnixStream| Ok(Peer { uid: 54_321, gid: 54_321, pid: 1, groups: vec![] });
    let world = World::with(Ways { peer_of: stranger, ..Ways::default() });
    for (method, path) in [("GET", "/v1/status"), ("POST", "/v1/down"), ("GET", "/livez"), ("GET", "/nothing")] {
        let reply = world.ask(method, path, "");
        assert_eq!((reply.status, reply.code().as_str()), (403, "forbidden"), "{method} {path}");
    }
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[test]
fn over_tcp_host_origin_and_token_decide() {
    let world = World::new();
    let home = world.tcp.to_string();
    let own = format!("http://{home}");
    let bearer = format!("Bearer {TOKEN}");
    let (host, token, stop) = (("Host", home.as_str()), ("Authorization", bearer.as_str()), "/v1/services/web/stop");
    for (method, path, headers, status) in [
        ("GET", "/v1/status", vec![host], 200),
        ("GET", "/v1/status", vec![("Host", "localhost:80")], 200),
        ("GET", "/v1/status", vec![], 400),
        ("GET", "/v1/status", vec![("Host", "evil.example"), token], 403),
        ("GET", "/v1/status", vec![host, ("Origin", own.as_str())], 200),
        ("GET", "/v1/status", vec![host, ("Origin", "http://evil.example"), token], 403),
        ("POST", stop, vec![host], 401),
        ("POST", stop, vec![host, ("Authorization", "Bearer wrong")], 401),
        ("POST", stop, vec![host, token, ("Origin", "http://evil.example")], 403),
        ("POST", stop, vec![host, token, ("Origin", own.as_str())], 202),
        ("POST", stop, vec![host, token], 202),
        ("POST", "/v1/nothing", vec![host], 401),
    ] {
        let reply = ask(world.tcp(), method, path, &headers, "");
        assert_eq!(reply.status, status, "{method} {path} {headers:?}: {reply:?}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
    let asked = world.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.ends_with("by http 127.0.0.1")), "{asked:?}");
}

#[test]
fn without_a_token_nothing_changes_over_tcp() {
    let world = World::with(Ways { token: None, ..Ways::default() });
    let home = world.tcp.to_string();
    let reply = ask(world.tcp(), "POST", "/v1/down", &[("Host", &home), ("Authorization", "Bearer x")], "");
    assert_eq!((reply.status, reply.code().as_str()), (403, "forbidden"));
    assert_eq!(ask(world.tcp(), "GET", "/v1/status", &[("Host", &home)], "").status, 200);
}

#[test]
fn a_door_to_the_network_needs_a_token_that_is_one() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (address, token, refused) in [
            ("0.0.0.0:0", None, "without a token"),
            ("0.0.0.0:0", Some("  "), "the token"),
            ("127.0.0.1:0", Some("a b"), "the token"),
        ] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let (_open, shutdown) = tokio::sync::watch::channel(false);
            let options = TcpOptions { token: token.map(str::to_owned) };
            let error: ServerError = serve_tcp(world.handle.clone(), listener, options, shutdown).await.unwrap_err();
            assert!(error.to_string().contains(refused), "{error}");
        }
    });
}
