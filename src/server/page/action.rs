//! Buttons that change something. They work by script and with a token that the person enters; where that cannot be, the
//! page says what to type instead.

use maud::{Markup, html};

use crate::server::page::words::{Words, fill};

/// The buttons of a service or an instance.
pub(crate) fn form(name: &str, token: bool, words: &Words) -> Markup {
    let typed = html! { code { "everup restart " (name) } };
    if !token {
        return html! { p.hint.actions { (words.no_actions) " " (typed) } };
    }
    html! {
        noscript { p.hint { (words.script_for_actions) " " (typed) } }
        form.actions hidden aria-label=(words.actions) autocomplete="off" {
            div.buttons {
                button type="button" data-action="start" { (words.start) }
                button type="button" data-action="stop" data-confirm=(fill(words.confirm_stop, &[("name", &name)])) { (words.stop) }
                button type="button" data-action="restart" data-confirm=(fill(words.confirm_restart, &[("name", &name)])) { (words.restart) }
                button type="button" data-action="reload" { (words.reload) }
            }
            label {
                span { (words.token) }
                input type="password" name="token" autocomplete="off" spellcheck="false" aria-describedby="token-hint";
            }
            small #token-hint { (words.token_hint) }
            p.result role="status" aria-live="polite" lang="en" {}
        }
        dialog.confirm aria-labelledby="question" {
            form method="dialog" {
                p #question {}
                div.buttons { button value="cancel" { (words.cancel) } button.yes value="yes" {} }
            }
        }
    }
}
