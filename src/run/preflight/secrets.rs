use std::collections::BTreeMap;

use super::finding::{Finding, Level};
use crate::base::{CellId, ErrorClass};
use crate::config::SecretSpec;
use crate::plan::Cell;
use crate::run::Inputs;

/// Secrets whose value is not there (a variable that is not set, a file that is none), and ssh agents that are not.
pub(super) fn unset(selected: &[&Cell], inputs: &Inputs) -> Vec<Finding> {
    let mut findings = secrets(selected, inputs);
    findings.extend(agents(selected, inputs));
    findings
}

fn agents(selected: &[&Cell], inputs: &Inputs) -> Vec<Finding> {
    let mut findings = Vec::new();
    for cell in selected {
        for (id, socket) in cell.build().into_iter().flat_map(|build| &build.ssh) {
            let text = match socket.as_ref().or(inputs.ssh_agent.as_ref()) {
                None => format!("the ssh agent `{id}` is wanted, and SSH_AUTH_SOCK names none"),
                Some(path) if !path.exists() => {
                    format!("the ssh agent `{id}` is wanted, and there is none at `{}`", path.display())
                }
                Some(_) => continue,
            };
            findings.push(
                Finding::new(Level::Error(ErrorClass::Preflight), "ssh", text)
                    .fix("start one with `eval $(ssh-agent)` and add a key to it with `ssh-add`")
                    .cells([cell.id.clone()]),
            );
        }
    }
    findings
}

fn secrets(selected: &[&Cell], inputs: &Inputs) -> Vec<Finding> {
    let mut missing: BTreeMap<(String, String), Vec<CellId>> = BTreeMap::new();
    for cell in selected {
        for (id, spec) in cell.build().into_iter().flat_map(|build| &build.secrets) {
            let (text, fix) = match spec {
                SecretSpec::Environment(variable) if !inputs.secrets.contains_key(variable) => (
                    format!("the variable {variable} of secret `{id}` is not set"),
                    format!("set {variable}, or name a file for the secret"),
                ),
                SecretSpec::File(path) if !path.is_file() => (
                    format!("there is no file `{}` for secret `{id}`", path.display()),
                    "write it, or name another file for the secret".to_owned(),
                ),
                SecretSpec::Environment(_) | SecretSpec::File(_) => continue,
            };
            missing.entry((text, fix)).or_default().push(cell.id.clone());
        }
    }
    let finding = |((text, fix), cells): ((String, String), Vec<CellId>)| {
        Finding::new(Level::Error(ErrorClass::Preflight), "secrets", text).fix(fix).cells(cells)
    };
    missing.into_iter().map(finding).collect()
}
