//! Why a run ended, how well that is known, and what it rests on.
//!
//! A number alone is no proof: exit code 137 is an exit code, and SIGKILL is `oom` only when the kernel says so.

use crate::core::event::{OomTrace, Traces};
use crate::model::service::{Cause, Certainty, End};
use crate::model::signal::Signal;
use serde::{Deserialize, Serialize};

/// A cause with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explained {
    /// The cause.
    pub(crate) cause: Cause,
    /// How well it is known.
    pub(crate) certainty: Certainty,
    /// Most telling first.
    pub(crate) evidence: Vec<String>,
}

/// Explains the end of a run; `asked` is everup's own reason when it asked for the end.
pub(crate) fn explain(end: &End, traces: &Traces, asked: Option<&Explained>) -> Explained {
    let mut explained = match asked {
        Some(reason) => {
            let mut explained = reason.clone();
            explained.evidence.push(describe(end));
            explained
        }
        None => unasked(end, traces),
    };
    explained.evidence.extend(traces.oom_beside.clone());
    explained
}

fn unasked(end: &End, traces: &Traces) -> Explained {
    let explained = |cause, certainty, evidence| Explained { cause, certainty, evidence };
    match end {
        End::Code(code) => {
            let mut evidence = vec![describe(end)];
            if let Some(signal) = code.checked_sub(128).filter(|n| (1..=64).contains(n)).and_then(Signal::from_number) {
                evidence.push(format!(
                    "{code} is 128 + {}: shells report a child that {signal} ended this way; it proves nothing about who sent it",
                    signal.number()
                ));
            }
            explained(Cause::Exit, Certainty::Certain, evidence)
        }
        End::Signal { signal, .. } if *signal == Signal::KILL => match &traces.oom {
            OomTrace::Proven(proof) => explained(Cause::Oom, Certainty::Certain, vec![proof.clone(), describe(end)]),
            OomTrace::Possible => explained(
                Cause::Oom,
                Certainty::Guess,
                vec![
                    "the kernel killed some process for memory about then, but nothing says it was this one".to_owned(),
                    describe(end),
                ],
            ),
            OomTrace::Excluded => explained(
                Cause::Signal,
                Certainty::Certain,
                vec![describe(end), "everup did not send it, and the kernel did not kill it for memory".to_owned()],
            ),
            OomTrace::Unknown => explained(
                Cause::Signal,
                Certainty::Likely,
                vec![
                    describe(end),
                    "everup did not send it; whether the kernel killed it for memory cannot be read here".to_owned(),
                ],
            ),
        },
        End::Signal { .. } => {
            explained(Cause::Signal, Certainty::Certain, vec![describe(end), "everup did not send it".to_owned()])
        }
        End::NotSpawned { .. } => {
            let evidence = traces.obstacle.iter().cloned().chain([describe(end)]).collect();
            explained(Cause::SpawnError, Certainty::Certain, evidence)
        }
        End::Unknown => explained(Cause::SupervisorLost, Certainty::Guess, vec![describe(end)]),
    }
}

/// How it ended, in words.
pub(crate) fn describe(end: &End) -> String {
    match end {
        End::Code(code) => format!("exit code {code}"),
        End::Signal { signal, core: false } => format!("ended by SIG{signal}"),
        End::Signal { signal, core: true } => format!("ended by SIG{signal}, core written"),
        End::NotSpawned { stage, errno } => {
            format!("cannot start it: {} ({stage})", std::io::Error::from_raw_os_error(*errno))
        }
        End::Unknown => "it was gone when everup came back; nobody saw how".to_owned(),
    }
}

/// The exit code a shell would give for this end: 128+n for signals, 127 for a program not found, 126 for one that
/// cannot be executed.
pub(crate) fn exit_code(end: &End) -> u8 {
    const NOT_FOUND: i32 = 2; // ENOENT
    match end {
        End::Code(code) => u8::try_from(*code & 0xff).unwrap_or(1),
        End::Signal { signal, .. } => u8::try_from(128 + signal.number()).unwrap_or(255),
        End::NotSpawned { stage, errno } => match stage {
            crate::model::service::SpawnStage::Program | crate::model::service::SpawnStage::Exec
                if *errno == NOT_FOUND =>
            {
                127
            }
            crate::model::service::SpawnStage::Program | crate::model::service::SpawnStage::Exec => 126,
            _ => 125,
        },
        End::Unknown => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::SpawnStage;

    fn killed() -> End {
        End::Signal { signal: Signal::KILL, core: false }
    }

    #[test]
    fn what_stood_in_the_way_comes_before_the_error_number() {
        let end = End::NotSpawned { stage: SpawnStage::Files, errno: 98 };
        let traces = Traces { obstacle: Some("cannot listen on 127.0.0.1:80".to_owned()), ..Traces::default() };
        let evidence = explain(&end, &traces, None).evidence;
        assert_eq!(evidence, ["cannot listen on 127.0.0.1:80".to_owned(), describe(&end)]);
    }

    #[test]
    fn a_kill_of_another_process_of_its_tree_is_told_and_not_blamed() {
        let traces = Traces { oom_beside: Some("its control group counted 1 kill".to_owned()), ..Traces::default() };
        let explained = explain(&End::Code(1), &traces, None);
        assert_eq!((explained.cause, explained.certainty), (Cause::Exit, Certainty::Certain));
        assert_eq!(explained.evidence, ["exit code 1", "its control group counted 1 kill"]);
    }

    #[test]
    fn a_number_alone_is_no_proof() {
        let proof = OomTrace::Proven("kernel: Out of memory: Killed process 42 (python)".into());
        let cases = [
            (End::Code(0), OomTrace::Unknown, Cause::Exit, Certainty::Certain),
            (End::Code(137), OomTrace::Possible, Cause::Exit, Certainty::Certain),
            (killed(), OomTrace::Unknown, Cause::Signal, Certainty::Likely),
            (killed(), OomTrace::Excluded, Cause::Signal, Certainty::Certain),
            (killed(), OomTrace::Possible, Cause::Oom, Certainty::Guess),
            (killed(), proof, Cause::Oom, Certainty::Certain),
            (End::Signal { signal: Signal::TERM, core: false }, OomTrace::Unknown, Cause::Signal, Certainty::Certain),
            (
                End::NotSpawned { stage: SpawnStage::Exec, errno: 2 },
                OomTrace::Unknown,
                Cause::SpawnError,
                Certainty::Certain,
            ),
            (End::Unknown, OomTrace::Unknown, Cause::SupervisorLost, Certainty::Guess),
        ];
        for (end, oom, cause, certainty) in cases {
            let explained = explain(&end, &Traces { oom: oom.clone(), ..Traces::default() }, None);
            assert_eq!((explained.cause, explained.certainty), (cause, certainty), "{end:?} {oom:?}");
            assert!(!explained.evidence.is_empty());
        }
    }

    #[test]
    fn what_everup_asked_for_stays_the_cause() {
        let asked =
            Explained { cause: Cause::Probe, certainty: Certainty::Certain, evidence: vec!["3 failures".into()] };
        let explained = explain(&End::Code(0), &Traces::default(), Some(&asked));
        assert_eq!(explained.cause, Cause::Probe);
        assert_eq!(explained.evidence, ["3 failures", "exit code 0"]);
    }

    #[test]
    fn exit_codes_are_those_a_shell_gives() {
        for (end, code) in [
            (End::Code(3), 3),
            (killed(), 137),
            (End::NotSpawned { stage: SpawnStage::Exec, errno: 2 }, 127),
            (End::NotSpawned { stage: SpawnStage::Exec, errno: 13 }, 126),
            (End::NotSpawned { stage: SpawnStage::Cwd, errno: 2 }, 125),
        ] {
            assert_eq!(exit_code(&end), code, "{end:?}");
        }
    }
}
