//! `notify:`: whom to tell of what.

use crate::config::decode::{Decoder, Fields};
use crate::config::document::{Node, Value};
use crate::config::keys;
use crate::config::resolve::url::{self, Target};
use crate::config::shape::{Misfit, Shape};
use crate::config::words::{Word, words_of};
use crate::model::plan::{NotifyOn, NotifyPlan, NotifyTo};
use crate::model::template::{Part, Slots, Template};

/// Nothing of a message differs between instances.
const NO_SLOTS: Slots = Slots { index: 1, port: None };

/// Whom to tell.
pub(super) fn notify(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<NotifyPlan> {
    decoder.items(fields, "notify").iter().filter_map(|node| entry(decoder, node)).collect()
}

fn entry(decoder: &mut Decoder<'_>, node: &Node) -> Option<NotifyPlan> {
    let fields = decoder.section(node, &keys::NOTIFY)?;
    let on = on(decoder, &fields);
    let to = match (fields.get("exec"), fields.get("webhook")) {
        (Some(_), Some(_)) => {
            let place = fields.key_place("webhook").unwrap_or(node.place);
            decoder.faults.add_with(
                place,
                "cannot tell in two ways in one entry: `exec` and `webhook`",
                "make it two entries of `notify`",
            );
            None
        }
        (Some(_), None) => {
            decoder.command(&fields, "exec").map(|words| NotifyTo::Exec(words.iter().map(hidden).collect()))
        }
        (None, Some(url)) => webhook(decoder, url).map(NotifyTo::Webhook),
        (None, None) => {
            decoder.faults.add_with(
                node.place,
                "expected `exec` or `webhook`: this tells nobody",
                "such as `webhook: ${SLACK_URL}` or `exec: ./tell`",
            );
            None
        }
    };
    Some(NotifyPlan { on, to: to? })
}

/// Of what, each once and in the order of the table; everything unless something is named.
fn on(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<NotifyOn> {
    let all = || NotifyOn::WORDS.iter().map(|(_, on)| *on).collect();
    let word = Shape::Words(words_of::<NotifyOn>);
    let named: Vec<NotifyOn> = match fields.get("on").map(|node| (&node.value, node)) {
        None => return all(),
        Some((Value::List(items), node)) => {
            if items.is_empty() {
                let words = word.describe();
                decoder.faults.add_with(
                    node.place,
                    "expected what to tell of, found nothing",
                    format!("name {words}, or leave `on` out for all"),
                );
            }
            items.iter().filter_map(|item| decoder.read(item, &word)).collect()
        }
        Some((_, node)) => decoder.read(node, &word).into_iter().collect(),
    };
    let mut on: Vec<NotifyOn> = all();
    on.retain(|one| named.contains(one));
    on
}

/// A URL of which only scheme and host may be shown: the rest often is the secret.
fn webhook(decoder: &mut Decoder<'_>, node: &Node) -> Option<Template> {
    let template = decoder.template(node)?;
    // What is written in the file is drawn with every error; what came out of a variable is not.
    let written = node.scalar().is_some_and(|scalar| !scalar.text.contains('$'));
    let text = template.render(NO_SLOTS);
    let parts = if written { vec![Part::Text(text.clone())] } else { vec![Part::Hidden(text.clone())] };
    let help = || "write http://host:port/path or https://host/path".to_owned();
    let checked = match url::http(&parts) {
        Ok(Target { socket: None, .. }) => Ok(Template::new(hide_urls(&text))),
        Ok(Target { socket: Some(_), .. }) => {
            Err(Misfit { message: "cannot tell over a unix socket".to_owned(), help: help() })
        }
        Err(misfit) => Err(Misfit { help: help(), ..misfit }),
    };
    decoder.fit(node.place, checked)
}

/// A word of a command; the URL of a webhook is as secret there.
fn hidden(word: &Template) -> Template {
    let parts = word.parts().iter().flat_map(|part| match part {
        Part::Text(text) => hide_urls(text),
        Part::Hidden(_) | Part::Port | Part::Index | Part::Fd { .. } => vec![part.clone()],
    });
    Template::new(parts.collect())
}

/// The text with everything of its URLs hidden but `https://host/`.
fn hide_urls(text: &str) -> Vec<Part> {
    let mut parts = vec![];
    let mut rest = text;
    while let Some(scheme) =
        ["http://", "https://"].into_iter().filter_map(|s| rest.find(s).map(|at| at + s.len())).min()
    {
        let (before, url) = rest.split_at(scheme);
        let end = url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`')).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let (authority, path) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
        let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let (slash, path) = path.split_at(usize::from(path.starts_with('/')));
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Hidden(user.to_owned()));
        parts.push(Part::Text(format!("{host}{slash}")));
        parts.push(Part::Hidden(path.to_owned()));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    parts.retain(|part| !matches!(part, Part::Text(text) | Part::Hidden(text) if text.is_empty()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_and_host_of_a_url_are_shown() {
        for (url, shown) in [
            ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/<hidden>"),
            ("http://user:word@127.0.0.1:8080", "http://<hidden>127.0.0.1:8080"),
            ("https://ntfy.sh?auth=1", "https://ntfy.sh<hidden>"),
            ("https://ntfy.sh/", "https://ntfy.sh/"),
            (
                "curl -d @- 'https://a.example/xyz' http://b.example/",
                "curl -d @- 'https://a.example/<hidden>' http://b.example/",
            ),
            ("mail ops@a.example", "mail ops@a.example"),
        ] {
            let template = Template::new(hide_urls(url));
            assert_eq!((template.to_string().as_str(), template.render(NO_SLOTS).as_str()), (shown, url));
        }
    }
}
