//! `everup config`: the file resolved.

use clap::Args;

use crate::cli::Context;
use crate::cli::command::why::one;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{file, load};
use crate::cli::select::Known;
use crate::config;

/// Options of `config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup config               everything, defaults filled in, secrets hidden\n  everup config web"
)]
pub(crate) struct Config {
    /// One service; none: the whole file
    #[arg(value_name = "SVC")]
    service: Option<String>,
}

/// Shows it as YAML, with `--json` as one JSON object.
pub(crate) fn run(args: &Config, context: &Context) -> Result<Exit, Failure> {
    let plan = load(&file(context)?, context)?;
    let known = Known::named(
        plan.project.clone(),
        plan.services.iter().map(|service| (service.name.clone(), service.instances)),
    );
    let service = args.service.as_ref().map(|text| one(&known, Some(text))).transpose()?.map(|target| target.service);
    let yaml = config::show(&plan, service.as_ref());
    if context.out.json {
        let value: serde_json::Value = serde_saphyr::from_str(&yaml)
            .map_err(|error| Failure::failed(format!("cannot show the file as JSON: {error}")))?;
        context.out.object(&value)?;
    } else {
        context.out.data(&yaml)?;
    }
    Ok(Exit::Done)
}
