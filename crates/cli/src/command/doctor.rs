//! `tenure doctor`: what is in force, not what is configured. The daemon tries its own side; what can be tried beside it is tried here,
//! where the daemon is this host's: the ledger is proved by another program than the one that writes it, and a jail is opened.
//! Must never: end well where something that should hold does not.
use tenure_core::manifest::HostMount;
use tenure_daemon::verify::{self, Depth};
use tenure_sandbox::probe;
use tenure_wire::api::doctor::{Check, CheckState, Diagnosis};
use tenure_wire::api::model::TestModel;
use tenure_wire::client::{Client, Error};
use tenure_wire::problem::Code;

use super::sandbox::trial::Trial;
use super::sandbox::trial_identity;
use crate::args::Doctor;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::one_line;

/// What a program inside finds out about its own confinement.
const LOOK: &str = "grep -E '^(NoNewPrivs|Seccomp|CapEff):' /proc/self/status
echo \"Processes: $(ls -d /proc/[0-9]* | wc -l)\"
echo \"Interfaces:$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d '\\n')\"
(echo x > /usr/tenure-doctor) 2>/dev/null && echo 'Outside: written' || echo 'Outside: refused'";
const ELSEWHERE: &str = "run `tenure doctor` on the daemon's host: a jail and the ledger are tried where they lie";
/// Of a jail's own: its first one, the shell and what the look starts.
const PROCESSES_MAX: u32 = 12;

pub async fn run(asked: Doctor, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let is_own = settings.meant()?.is_own;
    let daemon = client.doctor().await?;
    let mut checks = daemon.checks;
    if is_own {
        checks.push(ledger(settings));
        checks.extend(host().await);
    } else {
        checks.push(Check::not_set("sandbox", "host", "not tried from here: the daemon is another host's", ELSEWHERE));
    }
    let diagnosis = match &asked.agent {
        None => Diagnosis::new(daemon.id, daemon.name, checks),
        Some(name) => {
            let agent = client.agent_doctor(name, asked.capability.as_deref(), asked.input.as_deref()).await?;
            checks.extend(agent.checks);
            if is_own {
                checks.extend(jail(&client, name, settings).await?);
            }
            if !asked.no_model {
                checks.push(model(&client, name).await?);
            }
            Diagnosis::new(agent.id, agent.name, checks)
        }
    };
    output.show(&diagnosis, || told(&diagnosis))?;
    Ok(if diagnosis.status == CheckState::NotInForce { Exit::Failure } else { Exit::Done })
}

fn told(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for check in &diagnosis.checks {
        let mark = match check.status {
            CheckState::InForce => "yes",
            CheckState::NotInForce => "NO ",
            CheckState::NotSet => "-  ",
        };
        let name = format!("{} {}", check.part, one_line(&check.name));
        text.push_str(&format!("{mark}  {name:<34} {}\n", one_line(&check.found)));
        if let (Some(next), CheckState::NotInForce | CheckState::NotSet) = (&check.next, check.status) {
            text.push_str(&format!("     {:<34} {}\n", "", one_line(next)));
        }
    }
    let failing = diagnosis.checks.iter().filter(|check| check.status == CheckState::NotInForce).count();
    text.push_str(&match failing {
        0 => format!("What holds {} is in force.", one_line(&diagnosis.name)),
        1 => "One thing is NOT in force.".to_owned(),
        count => format!("{count} things are NOT in force."),
    });
    text
}

/// Its chain, to the head, read beside the daemon.
fn ledger(settings: &Settings) -> Check {
    let next = "run `tenure audit verify`, and keep what it prints";
    match verify::verify(&settings.data_dir, Depth::Chain) {
        Ok(report) if report.holds() => {
            Check::in_force("ledger", "proof", format!("{} records hold, to the signed head", report.records))
        }
        Ok(report) => Check::not_in_force("ledger", "proof", format!("{} findings", report.findings.count()), next),
        Err(error) => Check::not_in_force("ledger", "proof", error.to_string(), next),
    }
}

/// Each layer of a jail on this host, as `tenure sandbox check` tries it.
async fn host() -> Vec<Check> {
    let tried = tokio::task::spawn_blocking(|| {
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        probe::check(&exe, &std::env::temp_dir(), trial_identity()).map_err(|error| error.to_string())
    });
    let next = "`tenure sandbox check` says what to do";
    let report = match tried.await {
        Ok(Ok(report)) => report,
        Ok(Err(why)) => return vec![Check::not_in_force("sandbox", "host", why, next)],
        Err(error) => return vec![Check::not_in_force("sandbox", "host", error.to_string(), next)],
    };
    let checks = report.findings.into_iter().map(|finding| match finding.enforced {
        true => Check::in_force("sandbox", finding.name, finding.why),
        false => Check::not_in_force("sandbox", finding.name, finding.why, finding.advice.as_deref().unwrap_or(next)),
    });
    checks.collect()
}

/// A jail with the agent's own confinement, on a scratch folder, looked at from inside.
async fn jail(client: &Client, agent: &str, settings: &Settings) -> Result<Vec<Check>, Failure> {
    let next = "`tenure sandbox run --profile AGENT -- sh` looks at it from inside";
    let sandbox = client.agent_sandbox(agent).await?;
    let mut mounts: Vec<HostMount> = settings.allow_mounts.clone();
    mounts.extend(sandbox.mounts.into_iter().filter(|mount| !settings.allow_mounts.contains(mount)));
    let command = ["sh", "-c", LOOK].map(str::to_owned).to_vec();
    let trial = Trial { confinement: sandbox.confinement, mounts, command, time: None };
    let (level, printed) = match trial.look().await {
        Ok(found) => found,
        Err(why) => return Ok(vec![Check::not_in_force("jail", "opens", why, next)]),
    };
    Ok(inside(&level, &printed, next))
}

/// What was printed there, line by line.
fn inside(level: &str, printed: &str, next: &str) -> Vec<Check> {
    let said = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or("not told").to_owned()
    };
    let check = |name: &str, found: String, holds: bool| match holds {
        true => Check::in_force("jail", name, found),
        false => Check::not_in_force("jail", name, found, next),
    };
    let (rights, filter, capabilities) = (said("NoNewPrivs"), said("Seccomp"), said("CapEff"));
    let (processes, interfaces, outside) = (said("Processes"), said("Interfaces"), said("Outside"));
    let none = capabilities.bytes().all(|digit| digit == b'0') && !capabilities.is_empty();
    let few = processes.parse::<u32>().is_ok_and(|count| count <= PROCESSES_MAX);
    vec![
        Check::in_force("jail", "opens", level.to_owned()),
        check("no new privileges", rights.clone(), rights == "1"),
        check("system calls are filtered", format!("mode {filter}"), filter == "2"),
        check("no capabilities", capabilities, none),
        check("sees no other processes", format!("{processes} in all"), few),
        check("no way out but the egress", format!("interfaces: {interfaces}"), interfaces == "lo"),
        check("writes nothing outside", outside.clone(), outside == "refused"),
    ]
}

/// One short answer of the model that the agent thinks with.
async fn model(client: &Client, agent: &str) -> Result<Check, Failure> {
    let model = client.agent(agent).await?.agent.model;
    let next = "`tenure model test` tells more; --no-model leaves this out";
    Ok(match client.test_model(&TestModel { model: model.clone() }).await {
        Ok(tested) => Check::in_force("model", "answers", format!("{} after {} ms", tested.model, tested.took_ms)),
        Err(Error::Problem(problem)) if problem.code == Code::ModelReplayed => {
            Check::not_set("model", "answers", problem.detail.clone(), "start the daemon without TENURE_CASSETTE")
        }
        Err(Error::Problem(problem)) if problem.code == Code::Forbidden => {
            Check::not_set("model", "answers", "not asked: that wants the role operator", next)
        }
        Err(Error::Problem(problem)) => Check::not_in_force("model", "answers", problem.detail.clone(), next),
        Err(error) => return Err(error.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str =
        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nProcesses: 5\nInterfaces:    lo\nOutside: refused\n";

    fn failing(printed: &str) -> Vec<String> {
        let checks = inside("level", printed, "next").into_iter();
        checks.filter(|check| check.status == CheckState::NotInForce).map(|check| check.name).collect()
    }

    #[test]
    fn what_a_jail_does_not_hold_is_not_in_force_and_neither_is_what_it_does_not_tell() {
        assert_eq!(failing(HELD), [""; 0], "the control");
        for (held, open, name) in [
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no new privileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "system calls are filtered"),
            ("CapEff:\t0000000000000000", "CapEff:\t000001ffffffffff", "no capabilities"),
            ("Processes: 5", "Processes: 213", "sees no other processes"),
            ("Interfaces:    lo", "Interfaces:    lo  eth0", "no way out but the egress"),
            ("Outside: refused", "Outside: written", "writes nothing outside"),
            ("Seccomp:\t2", "", "system calls are filtered"),
        ] {
            assert_eq!(failing(&HELD.replace(held, open)), [name]);
        }
        assert_eq!(failing("").len(), 6);
    }
}
