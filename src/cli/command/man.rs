//! `everup man`: the manual page, one for everything or one for a verb.

use clap::{Args, CommandFactory as _};

use crate::cli::Context;
use crate::cli::args::Cli;
use crate::cli::failure::{Exit, Failure};
use crate::model::selector::nearest;

/// Options of `man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup man | man -l -\n  everup man restart | man -l -\n  everup man > /usr/local/share/man/man1/everup.1"
)]
pub(crate) struct Man {
    /// The page of one verb
    #[arg(value_name = "VERB")]
    verb: Option<String>,
}

/// Prints it as roff.
pub(crate) fn run(args: &Man, context: &Context) -> Result<Exit, Failure> {
    context.out.data(&page(args.verb.as_deref())?)?;
    Ok(Exit::Done)
}

fn page(verb: Option<&str>) -> Result<String, Failure> {
    let mut whole = Cli::command();
    whole.build();
    let (title, command) = match verb {
        None => ("everup".to_owned(), whole),
        Some(verb) => {
            let found = whole
                .get_subcommands()
                .find(|known| known.get_name() == verb || known.get_all_aliases().any(|alias| alias == verb));
            let Some(found) = found else {
                let near = nearest(verb, whole.get_subcommands().map(clap::Command::get_name));
                let failure = Failure::new(Exit::Usage, format!("cannot find a verb named {verb}"));
                return Err(if near.is_empty() {
                    failure
                } else {
                    failure.hint(format!("did you mean {}?", near.join(" or ")))
                });
            };
            (format!("everup-{}", found.get_name()), found.clone())
        }
    };
    let mut text = vec![];
    // The template is one for terminals; a page lists verbs and options its own way.
    clap_mangen::Man::new(command)
        .title(title)
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("cannot write the page: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_everything_and_for_each_verb() {
        let whole = page(None).unwrap();
        assert!(whole.contains(".TH everup") && whole.contains("EXIT CODES"), "{whole}");
        let verbs: Vec<String> = Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        for verb in verbs {
            assert!(page(Some(&verb)).unwrap().contains(".SH"), "{verb}");
        }
        assert!(page(Some("ps")).is_ok());
        assert!(page(Some("restrat")).unwrap_err().text().contains("did you mean restart?"));
    }
}
