//! `everup demo-app`: a small web app that crashes, hangs and leaks on request; everup's own show and example use it.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::failure::Failure;
use crate::cli::output::say;

/// Most MiB one request may leak.
const MOST_MB: usize = 1_024;
/// Most lines one request may log.
const MOST_LINES: u64 = 1_000_000;
/// The longest slow answer.
const MOST_SLOW: Duration = Duration::from_mins(10);

/// Options of `demo-app`.
#[derive(Debug, Args)]
pub(crate) struct DemoApp {
    /// Where to listen
    #[arg(long, value_name = "PORT")]
    port: u16,
    /// On which address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// How it calls itself
    #[arg(long, value_name = "NAME", default_value = "demo")]
    title: String,
}

/// What its handlers share.
#[derive(Clone, Debug)]
struct App {
    title: Arc<str>,
    hangs: Arc<AtomicBool>,
    leaked: Arc<Mutex<Vec<Vec<u8>>>>,
    /// An exit code, once; a second one is dropped.
    end: mpsc::Sender<u8>,
}

/// Serves until TERM or INT, or until somebody asks for a crash.
///
/// # Errors
/// When the port cannot be listened on.
pub(crate) fn run(args: &DemoApp) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &DemoApp) -> Result<ExitCode, Failure> {
    let address = SocketAddr::new(args.host, args.port);
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot listen on {address}: {error}")).hint("another program may hold the port")
    })?;
    let cannot_hear = |error: std::io::Error| Failure::failed(format!("cannot hear signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(cannot_hear)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_hear)?;
    let asked = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        log("told to stop: finishing what is under way");
    };
    let (end, mut ends) = mpsc::channel(1);
    let app = App { title: args.title.as_str().into(), hangs: Arc::default(), leaked: Arc::default(), end };
    log(&format!("{} listens on http://{address}", args.title));
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(asked);
    tokio::select! {
        served = async { server.await } => match served {
            Ok(()) => {
                log("bye");
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Err(Failure::failed(format!("cannot serve any more: {error}"))),
        },
        Some(code) = ends.recv() => {
            // The answer to whoever asked for it leaves first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(ExitCode::from(code))
        }
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/health", get(async || Json(serde_json::json!({"status": "ok"}))))
        .route("/crash", get(crash))
        .route("/exit", get(exit))
        .route("/hang", get(hang))
        .route("/leak", get(leak))
        .route("/slow", get(slow))
        .route("/log", get(lines))
        .layer(from_fn_with_state(app.clone(), access))
        .with_state(app)
}

/// Writes an access line for each request, and answers none once the app hangs.
async fn access(State(app): State<App>, request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri());
    if app.hangs.load(Ordering::Relaxed) {
        return std::future::pending().await;
    }
    let response = next.run(request).await;
    log(&format!("{what} {}", response.status().as_u16()));
    response
}

async fn front(State(app): State<App>) -> Response {
    let text = format!(
        "{} here, pid {}\n\n/health  says ok\n/crash   dies with a message and exit code 3\n/exit?code=N  ends with that code\n/hang    answers nothing from then on\n/leak?mb=50   keeps that much memory\n/slow?ms=500  takes its time\n/log?lines=5  writes lines\n",
        app.title,
        std::process::id(),
    );
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn crash(State(app): State<App>) -> &'static str {
    say("thread 'main' panicked at demo: asked to crash\nthis is what a crash leaves behind; `everup why` shows it\n");
    let _ = app.end.try_send(3);
    "crashing\n"
}

#[derive(Debug, Deserialize)]
struct ExitQuery {
    #[serde(default)]
    code: u8,
}

async fn exit(State(app): State<App>, Query(query): Query<ExitQuery>) -> String {
    let _ = app.end.try_send(query.code);
    format!("ending with exit code {}\n", query.code)
}

async fn hang(State(app): State<App>) -> &'static str {
    app.hangs.store(true, Ordering::Relaxed);
    log("asked to hang: no request is answered from now on");
    "hanging from now on\n"
}

#[derive(Debug, Deserialize)]
struct LeakQuery {
    #[serde(default = "fifty")]
    mb: usize,
}

fn fifty() -> usize {
    50
}

async fn leak(State(app): State<App>, Query(query): Query<LeakQuery>) -> Response {
    if query.mb > MOST_MB {
        return (StatusCode::BAD_REQUEST, format!("at most {MOST_MB} MiB at once\n")).into_response();
    }
    let mut leaked = app.leaked.lock().unwrap_or_else(PoisonError::into_inner);
    // Pages that hold something, for untouched ones would take no memory.
    leaked.push(vec![0xAA; query.mb << 20]);
    let total: usize = leaked.iter().map(Vec::len).sum::<usize>() >> 20;
    format!("{} MiB more, {total} MiB kept in all\n", query.mb).into_response()
}

#[derive(Debug, Deserialize)]
struct SlowQuery {
    #[serde(default = "second")]
    ms: u64,
}

fn second() -> u64 {
    1_000
}

async fn slow(Query(query): Query<SlowQuery>) -> String {
    let pause = Duration::from_millis(query.ms).min(MOST_SLOW);
    tokio::time::sleep(pause).await;
    format!("that took {} ms\n", pause.as_millis())
}

#[derive(Debug, Deserialize)]
struct LinesQuery {
    #[serde(default = "five")]
    lines: u64,
}

fn five() -> u64 {
    5
}

async fn lines(Query(query): Query<LinesQuery>) -> String {
    let count = query.lines.min(MOST_LINES);
    (1..=count).for_each(|number| log(&format!("line {number} of {count}")));
    format!("wrote {count} lines\n")
}

/// Writes a line to stdout; whether anybody reads it changes nothing.
fn log(line: &str) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    fn app() -> (App, mpsc::Receiver<u8>) {
        let (end, ends) = mpsc::channel(1);
        (App { title: "demo".into(), hangs: Arc::default(), leaked: Arc::default(), end }, ends)
    }

    async fn ask(app: &App, path: &str) -> (u16, String) {
        let response = router(app.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn it_serves_its_pages() {
        let (app, _ends) = app();
        for (path, status, text) in [
            ("/", 200, "demo here"),
            ("/health", 200, "{\"status\":\"ok\"}"),
            ("/slow?ms=1", 200, "that took 1 ms"),
            ("/log?lines=0", 200, "wrote 0 lines"),
            ("/leak?mb=1", 200, "1 MiB more, 1 MiB kept in all"),
            ("/leak?mb=2", 200, "2 MiB more, 3 MiB kept in all"),
            ("/leak?mb=9999", 400, "at most"),
            ("/exit?code=300", 400, ""),
            ("/nothing", 404, ""),
        ] {
            let (found, body) = ask(&app, path).await;
            assert_eq!(found, status, "{path}");
            assert!(body.contains(text), "{path}: {body}");
        }
    }

    #[tokio::test]
    async fn it_ends_the_way_it_is_asked_to() {
        for (path, code) in [("/crash", 3), ("/exit?code=7", 7), ("/exit", 0)] {
            let (app, mut ends) = app();
            assert_eq!(ask(&app, path).await.0, 200);
            assert_eq!(ends.try_recv(), Ok(code), "{path}");
        }
    }

    #[tokio::test]
    async fn once_it_hangs_not_even_its_health_is_answered() {
        let (app, _ends) = app();
        assert_eq!(ask(&app, "/hang").await.0, 200);
        let answer = tokio::time::timeout(Duration::from_millis(20), ask(&app, "/health")).await;
        assert!(answer.is_err());
    }
}
