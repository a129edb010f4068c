//! A package: a program's files with what is known of them, signed by a publisher whom the project trusts. This module knows
//! its name, version and digest and where its bytes are bound; the form of an archive, and every check of one, is
//! [`archive`]'s. It must never believe an archive because it was believed before: whoever loads one opens it anew.
//!
//! ```text
//! push ──> kept          (name, version) is one digest for ever
//! ```
pub mod archive;

use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::bound::{Bound, Hash, Payload};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Counter, Namespace};
use crate::id::PackageId;
use crate::project::Project;
use crate::row::Row;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// Packages of one project.
pub const PACKAGES_MAX: i64 = 1024;
/// The bucket of what is counted of a project.
const ALL: &str = "project";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    #[serde(flatten)]
    pub contents: Contents,
    /// The archive.
    pub archive: Hash,
}

/// What an archive was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    pub name: String,
    pub version: semver::Version,
    /// Of its index, and so of every file.
    pub digest: Hash,
    /// The public key that it is signed by.
    pub publisher: Hash,
    pub files: u32,
    /// Of the files together.
    pub bytes: u64,
}

verbs! {
    pub enum Command {
        /// `contents` is what [`archive::open`] found in `archive`, just now.
        "package.push" => Push { contents: Contents, archive: Payload },
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Push { archive, .. } => vec![archive],
        }
    }
}

events! {
    pub enum Event {
        /// `newest`: the highest version of the name, this one included; `signed_by`: the publisher's name then.
        "package.pushed" => Pushed {
            #[serde(flatten)]
            contents: Contents,
            archive: Bound,
            signed_by: String,
            by: Actor,
            newest: semver::Version,
        },
    }
}

refusals! {
    pub enum Refusal {
        "package.publisher_unknown" => PublisherUnknown { publisher: Hash },
        /// The name has this version with other contents.
        "package.version_taken" => VersionTaken { package: PackageId },
        "package.unchanged" quiet => Unchanged { package: PackageId },
        "package.too_many" => TooMany {},
        "package.too_large" => TooLarge {},
        "package.exists" => Exists {},
    }
}

/// A package as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRow {
    pub id: PackageId,
    pub name: String,
    pub version: String,
    pub digest: Hash,
    pub publisher: Hash,
    pub signed_by: String,
    pub archive: Hash,
    pub files: u32,
    pub bytes: u64,
    /// A higher version of the name was there when it was pushed.
    pub older_than: Option<String>,
    pub by: Actor,
    pub at: Time,
}

impl PackageRow {
    /// What it was pushed as.
    ///
    /// # Errors
    /// A version that is none any more.
    pub fn contents(&self) -> Result<Contents, String> {
        let version = self.version.parse().map_err(|error| format!("{}: {error}", self.version))?;
        let (name, digest, publisher) = (self.name.clone(), self.digest, self.publisher);
        Ok(Contents { name, version, digest, publisher, files: self.files, bytes: self.bytes })
    }
}

fn no<T>(refusal: Refusal) -> Result<T, Stop> {
    Err(refuse::<Package>(refusal))
}

/// What is unique: a version of a name, whoever signed it.
fn version_key(contents: &Contents) -> String {
    format!("{}@{}", contents.name.to_ascii_lowercase(), contents.version)
}

impl Aggregate for Package {
    type Id = PackageId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: PackageId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        let known = draft.get::<Package>(id)?.is_some();
        match command {
            Command::Push { .. } if known => no(Refusal::Exists {}),
            Command::Push { contents, archive } => push(id, draft, contents, archive),
        }
    }

    fn apply(fold: &mut Option<Package>, event: &Event, _: Stamp) {
        match event {
            Event::Pushed { contents, archive, .. } => {
                *fold = Some(Package { contents: contents.clone(), archive: archive.hash });
            }
            Event::Refused(_) => {}
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        match event {
            Event::Pushed { archive, .. } => each(&archive.hash),
            Event::Refused(_) => {}
        }
    }

    fn rows(id: PackageId, _: Option<&Package>, event: &Event, stamp: Stamp) -> Vec<Row> {
        let Event::Pushed { contents, archive, signed_by, by, newest } = event else { return Vec::new() };
        let held = |namespace, key, holder: String| Row::Held { namespace, key, holder: Some(holder) };
        let row = PackageRow {
            id,
            name: contents.name.clone(),
            version: contents.version.to_string(),
            digest: contents.digest,
            publisher: contents.publisher,
            signed_by: signed_by.clone(),
            archive: archive.hash,
            files: contents.files,
            bytes: contents.bytes,
            older_than: (*newest != contents.version).then(|| newest.to_string()),
            by: *by,
            at: stamp.at,
        };
        vec![
            held(Namespace::PackageVersion, version_key(contents), id.to_string()),
            held(Namespace::PackageNewest, contents.name.to_ascii_lowercase(), newest.to_string()),
            Row::Counted { counter: Counter::Packages, key: ALL.to_string(), bucket: 0, by: 1 },
            Row::Package(Box::new(row)),
        ]
    }
}

fn push(id: PackageId, draft: &mut Draft<'_>, contents: Contents, archive: Payload) -> Result<(), Stop> {
    if archive.bytes().len() > archive::ARCHIVE_BYTES_MAX {
        return no(Refusal::TooLarge {});
    }
    let publisher = contents.publisher;
    let project = draft.project;
    let trusted = match project {
        Some(project) => draft.get::<Project>(project)?.and_then(|project| project.publisher(publisher)).cloned(),
        None => None,
    };
    let Some(trusted) = trusted else { return no(Refusal::PublisherUnknown { publisher }) };
    if let Some(holder) = draft.holder(Namespace::PackageVersion, &version_key(&contents))?
        && let Ok(package) = holder.parse::<PackageId>()
    {
        let same = draft.get::<Package>(package)?.is_some_and(|kept| kept.contents.digest == contents.digest);
        return no(if same { Refusal::Unchanged { package } } else { Refusal::VersionTaken { package } });
    }
    if draft.count(Counter::Packages, ALL)? >= PACKAGES_MAX {
        return no(Refusal::TooMany {});
    }
    let newest = draft.holder(Namespace::PackageNewest, &contents.name.to_ascii_lowercase())?;
    let newest = newest.and_then(|newest| newest.parse::<semver::Version>().ok());
    let newest = newest.map_or_else(|| contents.version.clone(), |newest| newest.max(contents.version.clone()));
    let (archive, by) = (draft.bind(archive), draft.actor);
    Ok(draft.emit::<Package>(id, Event::Pushed { contents, archive, signed_by: trusted.name, by, newest })?)
}
