//! Usage, limits, metrics and messages: what a file may not say of them.

use super::refused::{Case, hold};
use super::{around, good};
use crate::config::develop::develop;

const CASES: &[Case] = &[
    (
        "services: {web: {command: x, memory_restart: 0}}",
        "1:46+1",
        "services.web.memory_restart",
        "expected a size such as 10MiB, found 0",
        "",
    ),
    (
        "services: {web: {command: x, memory_restart: {abve: 1G, for: 30}}}",
        "1:46+19",
        "services.web.memory_restart",
        "expected `above`",
        "such as `above: 512MiB`",
    ),
    (
        "services: {web: {command: x, max_memory_restart: 1G}}",
        "1:30+18",
        "services.web.max_memory_restart",
        "unknown key `max_memory_restart`",
        "everup calls it `memory_restart`",
    ),
    (
        "services: {web: {command: x, limits: {memory: lots}}}",
        "1:47+4",
        "services.web.limits.memory",
        "cannot read \"lots\" as a size: write a number with B, KiB, MiB, GiB or TiB (or K, M, G, T), such as 10MiB",
        "",
    ),
    (
        "services: {web: {command: x, limits: {cpu: 50%}}}",
        "1:44+3",
        "services.web.limits.cpu",
        "expected a number from 0.01 to 10000, found \"50%\"",
        "",
    ),
    (
        "services: {web: {command: x, limits: {cpus: 2}}}",
        "1:39+4",
        "services.web.limits.cpus",
        "unknown key `cpus`",
        "everup calls it `cpu`",
    ),
    (
        "services: {web: {command: x, metrics: {path: /m}}}",
        "1:39+10",
        "services.web.metrics",
        "expected a `port`",
        "such as `port: 9100`; a service with a `port` of its own can leave it out",
    ),
    (
        "services: {web: {command: x, metrics: 9100}}",
        "1:39+4",
        "services.web.metrics",
        "expected a map (where it serves metrics itself, for prometheus), found the number 9100",
        "",
    ),
    (
        "services: {web: {command: x, port: 80, metrics: {path: metrics}}}",
        "1:56+7",
        "services.web.metrics.path",
        "expected a path such as /metrics, found \"metrics\"",
        "",
    ),
    (
        "services:\n  a: {command: x, port: 80}\n  b: {command: x, metrics: {port: 80}}",
        "3:35+2",
        "services.b.metrics.port",
        "port 80 is taken by `a` already",
        "it stands on line 2",
    ),
    (
        "services:\n  a: {command: x, instances: 3, metrics: {port: 80}}\n  b: {command: x, listen: {h: '127.0.0.1:82'}}",
        "2:49+2",
        "services.a.metrics.port",
        "port 82 (80 to 82) is taken by `listen.h` of `b` already",
        "it stands on line 3",
    ),
    (
        "services: {web: {command: x, instances: 2, metrics: {port: 65535}}}",
        "1:60+5",
        "services.web.metrics.port",
        "instance 2 would get port 65536, and ports end at 65535",
        "the first port can be at most 65534",
    ),
    (
        "services: {web: {command: x, log_metrics: [unicorn]}}",
        "1:44+7",
        "services.web.log_metrics[0]",
        "expected tornado, uvicorn, gunicorn or nginx, found \"unicorn\"",
        "did you mean `uvicorn`?",
    ),
    (
        "services: {web: {command: x, log_metrics: {pattern: '(?<code>[0-9]+)'}}}",
        "1:53+17",
        "services.web.log_metrics.pattern",
        "expected a group called `method` in this pattern",
        r"such as `(?<method>[A-Z]+) \S+ (?<code>\d{3}) (?<ms>[\d.]+)ms`",
    ),
    (
        "services: {web: {command: x, log_metrics: [{pattern: '(?<code'}]}}",
        "1:54+9",
        "services.web.log_metrics[0].pattern",
        "cannot read \"(?<code\" as a regular expression: unclosed capture group name",
        "",
    ),
    (
        "services: {web: {command: x}}\nhistory: {interval: 500ms}",
        "2:21+5",
        "history.interval",
        "expected a duration of at least 1s, found \"500ms\"",
        "",
    ),
    (
        "services: {web: {command: x}}\nhistory: {keep: 400}",
        "2:17+3",
        "history.keep",
        "cannot read \"400\" as a duration: write a number with ms, s, m, h or d, such as 250ms or 1h30m",
        "write `400s` for seconds",
    ),
    (
        "services: {web: {command: x}}\nhistory: {max_size: 4K}",
        "2:21+2",
        "history.max_size",
        "expected a size of at least 1MiB, found \"4K\"",
        "",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{on: [faild], exec: x}]",
        "2:16+5",
        "notify[0].on[0]",
        "expected failed, crash_looping, recovered or oom, found \"faild\"",
        "did you mean `failed`?",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{on: [], exec: x}]",
        "2:15+2",
        "notify[0].on",
        "expected what to tell of, found nothing",
        "name failed, crash_looping, recovered or oom, or leave `on` out for all",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{on: failed}]",
        "2:10+12",
        "notify[0]",
        "expected `exec` or `webhook`: this tells nobody",
        "such as `webhook: ${SLACK_URL}` or `exec: ./tell`",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{exec: x, webhook: http://x}]",
        "2:20+7",
        "notify[0].webhook",
        "cannot tell in two ways in one entry: `exec` and `webhook`",
        "make it two entries of `notify`",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{url: http://x}]",
        "2:10+15",
        "notify[0]",
        "expected `exec` or `webhook`: this tells nobody",
        "such as `webhook: ${SLACK_URL}` or `exec: ./tell`",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{exec: 'mail | sendmail'}]",
        "2:23+1",
        "notify[0].exec",
        "`|` is for a shell, and this command runs without one",
        "run it by a shell as a list: [sh, -c, \"…\"]",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{webhook: ftp://x}]",
        "2:20+7",
        "notify[0].webhook",
        "cannot read \"ftp://x\" as an http:// or https:// URL",
        "write http://host:port/path or https://host/path",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{webhook: $WORKERS}]",
        "2:20+8",
        "notify[0].webhook",
        "cannot read \"<hidden>\" as an http:// or https:// URL",
        "write http://host:port/path or https://host/path",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{webhook: 'http://unix:/run/x.sock:/'}]",
        "2:20+27",
        "notify[0].webhook",
        "cannot tell over a unix socket",
        "write http://host:port/path or https://host/path",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{exec: [sh, -c, 'logger $EVERUP_MESSAGE']}]",
        "2:34+15",
        "notify[0].exec[2]",
        "`EVERUP_MESSAGE` is not set",
        "everup sets it when the command runs: write $$EVERUP_MESSAGE and let a shell fill it in",
    ),
    (
        "services: {web: {command: x}}\nnotify: [{webhook: $SLACK_URL}]",
        "2:20+10",
        "notify[0].webhook",
        "`SLACK_URL` is not set",
        "set it in `env`, `env_file` or the environment, or give a default: ${SLACK_URL:-…}",
    ),
];

#[test]
fn nobody_is_told_of_failures_while_code_is_written() {
    let plan = good("notify: [{exec: tell}]\nservices: {web: {command: x}}");
    assert_eq!((plan.notify.len(), develop(plan, &around()).plan.notify.len()), (1, 0));
}

#[test]
fn what_a_file_may_not_say_is_said_where_it_stands() {
    hold(CASES);
}
