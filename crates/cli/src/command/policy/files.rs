//! Policies as files: a folder is a whole policy, a folder in it a layer. Must never follow a link out of it, or write over what it
//! did not name.
use std::path::{Path, PathBuf};

use tenure_wire::api::policy::PolicyDocument;

use crate::command::contents;
use crate::failure::{Exit, Failure};

/// Of one document.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Of a file, where none is named.
const LAYER: &str = "project";
const ENDING: &str = ".cedar";
const CASES_ENDING: &str = ".test.toml";

pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let bytes = contents(path, DOCUMENT_BYTES_MAX)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Refused, format!("{} is not UTF-8", path.display())).next("save it as UTF-8"))
}

/// The names in a folder, in their order; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let unread = |error: std::io::Error| {
        Failure::new(Exit::Failure, format!("{} cannot be read: {error}", folder.display())).next("check the path")
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(unread)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The whole policy, whose folders say the layers: whoever names one of their own means a file.
pub(super) fn whole(path: &Path, layer: Option<&str>, name: Option<&str>) -> Result<Vec<PolicyDocument>, Failure> {
    let Some(named) = layer.map(|_| "--layer").or(name.map(|_| "--name")) else { return folder(path) };
    let what = format!("{named} is of a file, and {} is a folder: the whole policy", path.display());
    Err(Failure::new(Exit::Usage, what)
        .why("its own folders say the layers: system/, project/, agent/NAME/, session/KEY/")
        .next(format!("leave {named} out, or name one file of it")))
}

pub(super) fn document(path: &Path, layer: Option<&str>, name: Option<&str>) -> Result<PolicyDocument, Failure> {
    let text = text(path)?;
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.map(str::to_string).or(own).filter(|name| name != "-").unwrap_or_else(|| "stdin.cedar".to_string());
    Ok(PolicyDocument { layer: layer.unwrap_or(LAYER).to_string(), name, text })
}

/// `system/*.cedar`, `project/*.cedar`, `agent/NAME/*.cedar` and `session/KEY/*.cedar`.
fn folder(path: &Path) -> Result<Vec<PolicyDocument>, Failure> {
    let mut documents = Vec::new();
    for name in names(path)? {
        match name.as_str() {
            "system" | "project" => layer(&path.join(&name), &name, &mut documents)?,
            "agent" | "session" => {
                for whose in names(&path.join(&name))? {
                    layer(&path.join(&name).join(&whose), &format!("{name}:{whose}"), &mut documents)?;
                }
            }
            other if other.ends_with(ENDING) => {
                let what = format!("{other} is in no layer's folder");
                return Err(Failure::new(Exit::Refused, what)
                    .next("put it into system/, project/, agent/NAME/ or session/KEY/"));
            }
            _ => {}
        }
    }
    if documents.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("{} has no rules", path.display()))
            .next("`tenure policy show --out DIR` writes the policy that holds, to begin with"));
    }
    Ok(documents)
}

fn layer(folder: &Path, layer: &str, documents: &mut Vec<PolicyDocument>) -> Result<(), Failure> {
    for name in names(folder)?.into_iter().filter(|name| name.ends_with(ENDING)) {
        let text = text(&folder.join(&name))?;
        documents.push(PolicyDocument { layer: layer.to_string(), name, text });
    }
    Ok(())
}

/// Every file of cases in a policy's folder.
pub(super) fn cases(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = vec![path.to_path_buf(), path.join("system"), path.join("project")];
    for kind in ["agent", "session"] {
        folders.extend(names(&path.join(kind))?.into_iter().map(|whose| path.join(kind).join(whose)));
    }
    let mut found = Vec::new();
    for folder in folders {
        let named = names(&folder)?.into_iter().filter(|name| name.ends_with(CASES_ENDING));
        found.extend(named.map(|name| folder.join(name)));
    }
    Ok(found)
}

/// Each document into its layer's folder; a file that is there already is left alone, and nothing is written then.
pub(super) fn write(folder: &Path, documents: &[PolicyDocument]) -> Result<Vec<PathBuf>, Failure> {
    let place = |document: &PolicyDocument| {
        let layer = document.layer.replacen(':', "/", 1);
        folder.join(layer).join(document.name.replace('/', "_"))
    };
    if let Some(there) = documents.iter().map(place).find(|path| path.exists()) {
        return Err(
            Failure::new(Exit::Conflict, format!("{} is there already", there.display())).next("name an empty folder")
        );
    }
    let mut written = Vec::new();
    for document in documents {
        let path = place(document);
        let unwritten = |error: std::io::Error| {
            Failure::new(Exit::Failure, format!("{} cannot be written: {error}", path.display()))
        };
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(unwritten)?;
        std::fs::write(&path, &document.text).map_err(unwritten)?;
        written.push(path);
    }
    Ok(written)
}

/// One file that is not there yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let made = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, format!("{} is there already", path.display())).next("name another file")
        }
        _ => Failure::new(Exit::Failure, format!("{} cannot be written: {error}", path.display())),
    })
}
