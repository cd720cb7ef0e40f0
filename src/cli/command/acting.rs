//! What `start`, `stop`, `restart`, `scale` and `signal` have in common: whom, one request each, waiting, the outcome.

use std::time::Duration;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::{Goal, answers, waiting_for};
use crate::cli::project::locate;
use crate::cli::select::Known;
use crate::cli::show::outcome;
use crate::client::action::Action;
use crate::client::{Client, ClientError};
use crate::model::command::{Outcome, Target};

/// Whom a verb is about, and what is done to them.
#[derive(Debug)]
pub(crate) struct Acting {
    /// The requests, all of them put at once.
    pub(crate) actions: Vec<Action>,
    /// Whom they touch, for the line that says who is waited for; none: everybody.
    pub(crate) targets: Vec<Target>,
    /// What is waited for.
    pub(crate) goal: Goal,
    /// For how long; none: not at all.
    pub(crate) wait: Option<Duration>,
}

/// Checks whom `plan` is about (its first selector is `about`) against the running project, then carries it out.
///
/// # Errors
/// What was refused or not fulfilled.
pub(crate) fn act(
    context: &Context,
    about: Option<&String>,
    plan: impl FnOnce(&Known) -> Result<Acting, Failure>,
) -> Result<Exit, Failure> {
    let client = locate(context, about.map(String::as_str))?.connect()?;
    // All names are checked before the first request, so that a typo leaves everything as it is.
    let acting = plan(&Known::of(&client.status()?))?;
    carry_out(&client, &acting, context)
}

/// Puts the requests, waits as long as was asked for, and shows what became of them.
///
/// # Errors
/// What was refused or not fulfilled; of several the last, the others are said.
pub(crate) fn carry_out(client: &Client, acting: &Acting, context: &Context) -> Result<Exit, Failure> {
    let (outcome, failure) = put(client, acting, context)?;
    if failure.is_none() || !outcome.services.is_empty() || !outcome.changes.is_empty() {
        let dry_run = acting.actions.iter().any(|action| matches!(action, Action::Up { dry_run: true, .. }));
        report(&outcome, dry_run, context)?;
    }
    failure.map_or(Ok(Exit::Done), Err)
}

/// Puts the requests and waits as long as was asked for. Returns what became of them.
///
/// # Errors
/// When they cannot be put, or whoever waits is interrupted.
pub(crate) fn put(client: &Client, acting: &Acting, context: &Context) -> Result<(Outcome, Option<Failure>), Failure> {
    let begun: Result<Vec<_>, ClientError> =
        acting.actions.iter().map(|action| client.begin(action, acting.wait)).collect();
    let whom = || waiting_for(&client.status().ok()?, &acting.targets, acting.goal);
    Ok(merge(answers(&context.out, begun?, whom)?, context))
}

/// One outcome of several; of several failures the last is handed on and the others are said.
fn merge(answers: Vec<Result<Outcome, ClientError>>, context: &Context) -> (Outcome, Option<Failure>) {
    let mut whole = Outcome { done: true, ..Outcome::default() };
    let mut failure: Option<Failure> = None;
    for answer in answers {
        match answer {
            Ok(outcome) => {
                whole.done &= outcome.done;
                whole.services.extend(outcome.services);
                whole.changes.extend(outcome.changes);
                whole.notes.extend(outcome.notes);
            }
            Err(error) => {
                if let Some(earlier) = failure.replace(error.into()) {
                    context.out.trouble(&earlier.text());
                }
            }
        }
    }
    (whole, failure)
}

/// Writes an outcome: lines or JSON to stdout, remarks to stderr.
///
/// # Errors
/// When nobody reads stdout.
pub(crate) fn report(outcome: &Outcome, dry_run: bool, context: &Context) -> Result<(), Failure> {
    let out = &context.out;
    if out.json {
        return out.object(outcome);
    }
    if !out.quiet {
        out.data(&outcome::lines(outcome, dry_run, &out.stdout))?;
    }
    for note in &outcome.notes {
        out.talk(&format!("note: {note}"));
    }
    Ok(())
}

/// One request for each selector; without any, one to everybody.
pub(crate) fn each(selectors: &[String], action: impl Fn(String) -> Action) -> Vec<Action> {
    if selectors.is_empty() {
        return vec![action("*".to_owned())];
    }
    selectors.iter().cloned().map(action).collect()
}
