//! `everup status`: the table of services, and the list of projects.

use crate::cli::output::{Surface, Tone};
use crate::cli::show::state::{in_trouble, remark, uptime, words};
use crate::cli::table::{Cell, Column, Table};
use crate::cli::time::{bytes, percent};
use crate::model::service::{Desired, State};
use crate::model::status::{ServiceStatus, Status};
use crate::model::units::Timestamp;

/// One row an instance.
pub(crate) fn services<'a>(
    services: impl Iterator<Item = &'a ServiceStatus>,
    now: Timestamp,
    surface: &Surface,
) -> String {
    let mut table = Table::new(vec![
        Column::text("NAME", 9, 8),
        Column::text("STATE", 8, 20),
        Column::number("UPTIME", 6),
        Column::number("RESTARTS", 5),
        Column::number("CPU", 3),
        Column::number("MEMORY", 4),
        Column::number("PID", 2),
        // Rather than this one the least important figures go.
        Column::text("WHY", 7, 24),
    ]);
    for service in services {
        for instance in &service.instances {
            let (tone, state) = words(service, instance);
            table.row(vec![
                Cell::plain(&instance.name),
                Cell::new(tone, state),
                cell(uptime(instance)),
                Cell::plain(instance.restarts.to_string()),
                cell(instance.cpu_percent.map(percent)),
                cell(instance.memory_bytes.map(bytes)),
                cell(instance.pid.map(|pid| pid.to_string())),
                Cell::plain(remark(service, Some(instance), now)),
            ]);
        }
        if service.instances.is_empty() {
            let mut row = vec![Cell::plain(service.name.as_str()), Cell::new(Tone::Dim, service.state.to_string())];
            row.extend((0..5).map(|_| Cell::none()));
            row.push(Cell::plain(remark(service, None, now)));
            table.row(row);
        }
    }
    table.render(surface)
}

/// One row a project.
pub(crate) fn projects(list: &[Status], surface: &Surface) -> String {
    let mut table = Table::new(vec![
        Column::text("PROJECT", 9, 8),
        Column::text("STATE", 8, 12),
        Column::number("PID", 3),
        Column::text("FILE", 4, 10),
    ]);
    for status in list {
        let (tone, state) = summary(status);
        table.row(vec![
            Cell::plain(&status.project),
            Cell::new(tone, state),
            Cell::plain(status.pid.to_string()),
            cell(status.config.clone()),
        ]);
    }
    table.render(surface)
}

/// All services of a project in a few words: `3 running`, `2 of 3 running, web backoff`.
fn summary(status: &Status) -> (Tone, String) {
    let wanted = status.services.iter().filter(|service| service.desired == Desired::Up).count();
    let trouble: Vec<String> = status
        .services
        .iter()
        .filter(|service| in_trouble(service))
        .map(|service| {
            let unhealthy = service.state == State::Running && service.healthy == Some(false);
            format!("{} {}", service.name, if unhealthy { "unhealthy".to_owned() } else { service.state.to_string() })
        })
        .collect();
    if trouble.is_empty() {
        return (Tone::Good, format!("{wanted} up"));
    }
    (Tone::Bad, format!("{} of {wanted} up: {}", wanted.saturating_sub(trouble.len()), trouble.join(", ")))
}

fn cell(text: Option<String>) -> Cell {
    text.map_or_else(Cell::none, Cell::plain)
}
