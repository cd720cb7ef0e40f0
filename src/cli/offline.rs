//! Reading the state folder when no supervisor runs; that it is so is said on stderr.

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::Project;
use crate::cli::select::Known;
use crate::model::names::ServiceName;

/// Says that nobody runs and what is read instead.
///
/// # Errors
/// [`Exit::NoSupervisor`] when there is nothing to read.
pub(crate) fn announce(project: &Project, context: &Context) -> Result<(), Failure> {
    if !project.state_dir.is_dir() {
        return Err(Failure::new(
            Exit::NoSupervisor,
            format!(
                "cannot say anything about {}: no supervisor runs, and none has left anything in {}",
                project.described(),
                project.state_dir.display()
            ),
        )
        .hint("`everup up -d` starts it"));
    }
    context.out.talk(&format!("no supervisor runs: this is what {} holds", project.state_dir.display()));
    Ok(())
}

/// The services there were: those of the file, and those whose logs are there.
pub(crate) fn known(project: &Project) -> Known {
    let mut services: Vec<(ServiceName, u32)> = vec![];
    if let Some(plan) = project.config.as_ref().and_then(|file| crate::cli::project::read(file).ok()) {
        services.extend(plan.services.iter().map(|service| (service.name.clone(), service.instances)));
    }
    let files = std::fs::read_dir(project.state_dir.join("logs")).into_iter().flatten().flatten();
    for (name, index) in files.filter_map(|file| instance_of(file.file_name().to_str()?)) {
        match services.iter_mut().find(|(known, _)| *known == name) {
            Some((_, instances)) => *instances = (*instances).max(index),
            None => services.push((name, index)),
        }
    }
    Known::named(project.name.clone().unwrap_or_else(|| project.described()), services)
}

/// The instance that a log file's name names: `web.out.log` is of web/1, `web.2.err.log` of web/2.
fn instance_of(file: &str) -> Option<(ServiceName, u32)> {
    let stem = file.strip_suffix(".log")?;
    let stem = stem.strip_suffix(".out").or_else(|| stem.strip_suffix(".err")).unwrap_or(stem);
    let (name, index) = match stem.rsplit_once('.').map(|(name, number)| (name, number.parse::<u32>())) {
        Some((name, Ok(index))) if index > 1 => (name, index),
        _ => (stem, 1),
    };
    Some((ServiceName::new(name).ok()?, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_files_name_their_instance() {
        for (file, expected) in [
            ("web.out.log", Some(("web", 1))),
            ("web.2.err.log", Some(("web", 2))),
            ("web.log", Some(("web", 1))),
            ("web.3.log", Some(("web", 3))),
            ("a.b.out.log", Some(("a.b", 1))),
            ("web.out.log.1", None),
            ("web.out.idx", None),
            (".out.log", None),
        ] {
            let found = instance_of(file);
            assert_eq!(found.as_ref().map(|(name, index)| (name.as_str(), *index)), expected, "{file}");
        }
    }
}
