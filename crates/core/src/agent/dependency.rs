//! What an agent's manifest says that it depends on, held against the agents that are registered. Modules are not looked at
//! here: they are files beside the program.
use std::fmt;
use std::sync::Arc;

use crate::manifest::{DependencyType, Persona, is_service};
use crate::plan::{Dependency, Plan};

/// Agents that are looked at for a circle, at most.
const VISITED_MAX: usize = 256;

/// An agent that is registered under a name.
pub struct Registered {
    pub name: String,
    /// It is neither revoked nor deleted.
    pub lives: bool,
    /// Of its newest revision.
    pub plan: Arc<Plan>,
}

/// A dependency that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Its place in the manifest's list.
    pub index: usize,
    pub name: String,
    /// The deploy is refused for it.
    pub required: bool,
    pub lack: Lack,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    Missing,
    /// It was revoked or deleted.
    Gone,
    /// A service is wanted, and it is another kind of colleague.
    NoService {
        persona: Option<Persona>,
    },
    Unversioned {
        wanted: String,
    },
    OtherVersion {
        has: String,
        wanted: String,
    },
    /// Names from the agent back to itself.
    Circle {
        names: Vec<String>,
    },
    /// More agents would have to be looked at than are.
    TooDeep,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.lack {
            Lack::Missing => write!(f, "no agent is called `{name}`"),
            Lack::Gone => write!(f, "`{name}` was revoked or deleted"),
            Lack::NoService { persona } => {
                let persona = persona.map_or("of no persona", Persona::as_str);
                write!(f, "`{name}` is {persona}, and a service is a `utility`")
            }
            Lack::Unversioned { wanted } => write!(f, "`{name}` states no version, and {wanted} is wanted"),
            Lack::OtherVersion { has, wanted } => write!(f, "`{name}` has version {has}, and {wanted} is wanted"),
            Lack::Circle { names } => write!(f, "a circle: {}", names.join(" → ")),
            Lack::TooDeep => write!(f, "`{name}` depends, by others, on more than {VISITED_MAX} agents"),
        }
    }
}

/// What of `wanted` the agents that `find` knows do not meet, for the agent that is called `name`.
///
/// # Errors
/// `find`'s.
pub fn unmet<E>(
    name: &str,
    wanted: &[Dependency],
    find: &mut dyn FnMut(&str) -> Result<Option<Registered>, E>,
) -> Result<Vec<Unmet>, E> {
    let mut unmet = Vec::new();
    let agents = wanted.iter().enumerate().filter(|(_, wanted)| wanted.kind != DependencyType::Module);
    for (index, wanted) in agents {
        let lack = if wanted.name.eq_ignore_ascii_case(name) {
            Some(Lack::Circle { names: vec![name.to_owned(), name.to_owned()] })
        } else {
            match find(&wanted.name)? {
                None => Some(Lack::Missing),
                Some(found) => match lack(wanted, &found) {
                    Some(lack) => Some(lack),
                    None => circle(name, &found, find)?,
                },
            }
        };
        // A circle is never what an optional dependency is for.
        let closes = matches!(lack, Some(Lack::Circle { .. } | Lack::TooDeep));
        let required = wanted.required || closes;
        unmet.extend(lack.map(|lack| Unmet { index, name: wanted.name.clone(), required, lack }));
    }
    Ok(unmet)
}

fn lack(wanted: &Dependency, found: &Registered) -> Option<Lack> {
    if !found.lives {
        return Some(Lack::Gone);
    }
    let persona = found.plan.persona;
    if wanted.kind == DependencyType::Service && !is_service(persona) {
        return Some(Lack::NoService { persona });
    }
    let range = wanted.version.as_ref()?;
    let Some(has) = &found.plan.release else { return Some(Lack::Unversioned { wanted: range.to_string() }) };
    (!range.matches(has)).then(|| Lack::OtherVersion { has: has.to_string(), wanted: range.to_string() })
}

/// Whether `name` is depended on by what it depends on, depth first.
fn circle<E>(
    name: &str,
    from: &Registered,
    find: &mut dyn FnMut(&str) -> Result<Option<Registered>, E>,
) -> Result<Option<Lack>, E> {
    let mut visited = vec![from.name.to_ascii_lowercase()];
    let mut open: Vec<(Vec<String>, Arc<Plan>)> =
        vec![(vec![name.to_owned(), from.name.clone()], Arc::clone(&from.plan))];
    while let Some((path, plan)) = open.pop() {
        for next in plan.dependencies.iter().filter(|next| next.kind != DependencyType::Module) {
            let mut names = path.clone();
            if next.name.eq_ignore_ascii_case(name) {
                names.push(name.to_owned());
                return Ok(Some(Lack::Circle { names }));
            }
            let folded = next.name.to_ascii_lowercase();
            if visited.contains(&folded) {
                continue;
            }
            if visited.len() >= VISITED_MAX {
                return Ok(Some(Lack::TooDeep));
            }
            visited.push(folded);
            if let Some(found) = find(&next.name)? {
                names.push(found.name.clone());
                open.push((names, found.plan));
            }
        }
    }
    Ok(None)
}
