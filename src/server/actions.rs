//! What changes something: each request becomes one command to the loop, and its outcome the answer.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::model::command::{Command, Denied, DeniedCode, Outcome, Target};
use crate::model::names::ServiceName;
use crate::model::probe::ProbeReport;
use crate::model::selector::nearest;
use crate::model::signal::Signal;
use crate::model::units::format_duration;
use crate::server::dispatch::Call;
use crate::server::reply::{Reply, bad, denied, json};
use crate::server::selector::{resolve, resolve_service};

/// The body of `signal`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalBody {
    /// A name such as HUP, or a number as text.
    signal: String,
}

/// The body of `scale`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleBody {
    /// 0 to 1000.
    #[schemars(range(max = 1000))]
    instances: u32,
}

/// The most instances of one service.
const INSTANCES: u32 = 1000;

/// The body of `up`; all of it may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpBody {
    /// Another file than the running one, as an absolute path.
    config: Option<PathBuf>,
    /// Only say what would be done.
    dry_run: bool,
    /// Services to start besides; also releases their holds.
    start: Vec<ServiceName>,
}

/// The body of `down`; all of it may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DownBody {
    /// Kill everything at once.
    force: bool,
}

/// The body of `upgrade`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpgradeBody {
    /// The program that is to take over, as an absolute path.
    binary: PathBuf,
}

/// What the probes of a service answered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProbeAnswer {
    /// Version of this shape: 1.
    v: u32,
    /// Whether all passed.
    ok: bool,
    /// One answer a probe and instance.
    probes: Vec<ProbeReport>,
}

pub(crate) async fn start(call: &Call) -> Reply {
    let targets = targets(call)?;
    ask(call, Command::Start(targets)).await
}

pub(crate) async fn stop(call: &Call) -> Reply {
    let targets = targets(call)?;
    ask(call, Command::Stop(targets)).await
}

pub(crate) async fn restart(call: &Call) -> Reply {
    let now = call.arguments.flag("now")?;
    let targets = targets(call)?;
    ask(call, Command::Restart { targets, now }).await
}

pub(crate) async fn reload(call: &Call) -> Reply {
    let targets = targets(call)?;
    ask(call, Command::Reload(targets)).await
}

pub(crate) async fn signal(call: &Call) -> Reply {
    let body: SignalBody = read(call)?;
    let signal = Signal::parse(&body.signal).map_err(|message| {
        let near = nearest(body.signal.trim_start_matches("SIG"), Signal::names());
        Denied { hint: near.first().map(|name| format!("did you mean {name}?")), ..bad(message) }
    })?;
    let targets = targets(call)?;
    let outcome = call.desk.handle.ask(Command::Signal { targets, signal }, None, call.visitor().caller()).await?;
    json(StatusCode::OK, &outcome)
}

pub(crate) async fn scale(call: &Call) -> Reply {
    let ScaleBody { instances } = read(call)?;
    if instances > INSTANCES {
        return Err(bad(format!("cannot run {instances} instances: at most {INSTANCES} are allowed")));
    }
    let service = resolve_service(&call.selector, &call.desk.handle.snapshot.borrow())?;
    ask(call, Command::Scale { service, instances }).await
}

pub(crate) async fn up(call: &Call) -> Reply {
    let UpBody { config, dry_run, start } = read(call)?;
    if let Some(path) = config.as_ref().filter(|path| !path.is_absolute()) {
        let message = format!("cannot take {} as a file: everup runs in another folder", path.display());
        return Err(denied(DeniedCode::BadRequest, message, "write an absolute path"));
    }
    let _place = call.wait.map(|_| call.desk.place()).transpose()?;
    let outcome = call.desk.handle.up(config, start, dry_run, call.wait, call.visitor().caller()).await?;
    // A rehearsal promises nothing that could be under way.
    if dry_run { json(StatusCode::OK, &outcome) } else { finish(call, &outcome) }
}

pub(crate) async fn down(call: &Call) -> Reply {
    let DownBody { force } = read(call)?;
    ask(call, Command::Down { force }).await
}

pub(crate) async fn upgrade(call: &Call) -> Reply {
    // Whoever names a program has it run as everup's own user: that is more than any token or group is given for.
    if !call.visitor().is_own() {
        let message = "only everup's own user and root may say which program takes over, on the control socket";
        return Err(denied(DeniedCode::Forbidden, message, "run `everup upgrade` as that user"));
    }
    let UpgradeBody { binary } = read(call)?;
    let answer = call.desk.handle.upgrade(binary, call.visitor().caller()).await?;
    json(StatusCode::ACCEPTED, &answer)
}

pub(crate) async fn probe(call: &Call) -> Reply {
    let _place = call.desk.place()?;
    let targets = targets(call)?;
    let asked = try_join_all(targets.into_iter().map(|target| call.desk.handle.probe(target)));
    let limit = call.wait.unwrap_or(Duration::from_mins(1));
    let reports = timeout(limit, asked).await.map_err(|_elapsed| {
        let message = format!("the probes did not all answer within {}", format_duration(limit));
        denied(DeniedCode::TimedOut, message, "give them longer with wait=")
    })??;
    let probes: Vec<ProbeReport> = reports.into_iter().flatten().collect();
    json(StatusCode::OK, &ProbeAnswer { v: 1, ok: probes.iter().all(|report| report.ok), probes })
}

fn targets(call: &Call) -> Result<Vec<Target>, Denied> {
    resolve(&call.selector, &call.desk.handle.snapshot.borrow())
}

async fn ask(call: &Call, command: Command) -> Reply {
    let _place = call.wait.map(|_| call.desk.place()).transpose()?;
    let outcome = call.desk.handle.ask(command, call.wait, call.visitor().caller()).await?;
    finish(call, &outcome)
}

/// 200 only for those who waited and whose promise holds.
fn finish(call: &Call, outcome: &Outcome) -> Reply {
    let status = if call.wait.is_some() && outcome.done { StatusCode::OK } else { StatusCode::ACCEPTED };
    json(status, outcome)
}

/// Reads the JSON body; an empty one stands for `{}`.
fn read<T: DeserializeOwned>(call: &Call) -> Result<T, Denied> {
    let body: &[u8] = if call.body.trim_ascii().is_empty() { b"{}" } else { &call.body };
    serde_json::from_slice(body).map_err(|error| {
        denied(DeniedCode::BadRequest, format!("cannot read the body: {error}"), "GET /v1/openapi.json shows its shape")
    })
}
