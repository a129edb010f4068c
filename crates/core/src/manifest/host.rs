//! What a host can do for agents, and where on it a manifest's programs are to run. Must never choose a place that does not
//! give what the manifest states.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::canonical::{Guard, Isolation, Manifest, Runtime};
use crate::fault::{Code, Fault, Problem, nearest};

/// What the host that agents will run on can do, as its worker found it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What a jail of this host can run, with its versions.
    pub toolchains: Vec<Toolchain>,
    /// Whether the share of the processors, the memory and the number of processes can be bounded there.
    pub cpu: bool,
    pub memory: bool,
    pub pids: bool,
    pub quota: Quota,
    /// What a manifest may require of it.
    pub guards: Vec<Guard>,
    pub engine: Engine,
    /// Folders that the operator lets agents see.
    pub mounts: Vec<HostMount>,
}

/// A language that programs can be written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// As a manifest names it: `python`, `node`.
    pub language: String,
    /// As in `3.11.7`.
    pub version: String,
}

/// What keeps an agent's folders to their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Quota {
    #[default]
    None,
    /// The worker looks: at each file call, and all the time while a program runs.
    Soft,
    /// The file system refuses.
    Hard,
}

impl Quota {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The container engine beside the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Engine {
    Absent {
        why: String,
    },
    Present {
        /// `docker` or `podman`.
        name: String,
        version: String,
        /// Names of the images that it holds.
        images: Vec<String>,
        guards: Vec<Guard>,
    },
}

impl Default for Engine {
    fn default() -> Self {
        Self::Absent { why: "none was looked for".to_owned() }
    }
}

/// A folder of the host that the operator allowed; inside it has the same path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    pub path: String,
    pub read_only: bool,
}

impl HostMount {
    /// Whether `path` is this folder or lies in it.
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path == "/")
    }
}

/// Where an iteration's programs run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Backend {
    Native,
    Container { image: String },
}

impl Manifest {
    /// Where its programs run on `host`.
    ///
    /// # Errors
    /// Why they cannot, with the way out, at the path of the field.
    pub fn backend(&self, host: &Host) -> Result<Backend, Problem> {
        self.spec.runtime.as_ref().map_or(Ok(Backend::Native), |runtime| runtime.backend(host))
    }
}

/// The annotation of a manifest whose isolation was asked for at its deploy.
pub const ASKED_ISOLATION: &str = "tenure.dev/asked-isolation";

impl Manifest {
    /// The same agent, isolated as somebody asks who deploys it, whatever its file says. What was asked and what the file
    /// says stay in its annotations, and so in its revision.
    #[must_use]
    pub fn isolated(mut self, asked: Isolation) -> Manifest {
        let runtime = self.spec.runtime.get_or_insert_default();
        let stated = runtime.isolation.map_or("nothing", Isolation::as_str);
        let mut record = format!("{} was asked for at the deploy; the file states {stated}", asked.as_str());
        runtime.isolation = Some(asked);
        if let (Isolation::Native, Some(image)) = (asked, runtime.image.take()) {
            record.push_str(&format!(" and the image {image}"));
        }
        self.metadata.annotations.insert(ASKED_ISOLATION.to_owned(), record);
        self
    }
}

impl Runtime {
    /// Where programs of this runtime run on `host`.
    ///
    /// # Errors
    /// Why they cannot, with the way out, at the path of the field.
    pub fn backend(&self, host: &Host) -> Result<Backend, Problem> {
        let runtime = self;
        let isolation = runtime.isolation.unwrap_or(Isolation::Inherit);
        match isolation {
            Isolation::Wasm => Err(at("isolation", "nothing is run by wasm yet", "use `isolation: native`")),
            Isolation::Docker => container(runtime, host),
            Isolation::Native if runtime.image.is_some() => Err(at(
                "image",
                "an image is run by a container engine, and `isolation: native` asks for none",
                "leave one of them out",
            )),
            Isolation::Native => native(runtime, host),
            Isolation::Inherit if runtime.image.is_some() => container(runtime, host),
            Isolation::Inherit => native(runtime, host).or_else(|problem| {
                let images = images(&host.engine);
                let found = image_of(runtime).filter(|image| images.iter().any(|known| same_image(known, image)));
                found.map(|image| Backend::Container { image }).ok_or(problem)
            }),
        }
    }
}

fn at(field: &str, reason: impl Into<String>, way_out: impl Into<String>) -> Problem {
    Fault::new(Code::Unenforced, reason).hint(way_out).at(format!("spec.runtime.{field}").as_str())
}

fn images(engine: &Engine) -> &[String] {
    match engine {
        Engine::Present { images, .. } => images,
        Engine::Absent { .. } => &[],
    }
}

fn native(runtime: &Runtime, host: &Host) -> Result<Backend, Problem> {
    let Some(language) = runtime.language.as_deref() else { return Ok(Backend::Native) };
    let has: Vec<&Toolchain> = host.toolchains.iter().filter(|found| found.language == language).collect();
    if has.is_empty() {
        let known: Vec<&str> = host.toolchains.iter().map(|found| found.language.as_str()).collect();
        let way_out = match nearest(language, known.iter().copied()) {
            Some(word) if word != language => format!("did you mean `{word}`?"),
            Some(_) | None if known.is_empty() => "install it, or name an image".to_owned(),
            Some(_) | None => format!("install it under /usr, or name an image; this host has {}", known.join(", ")),
        };
        return Err(at("language", format!("this host has no {language}"), way_out));
    }
    let Some(wanted) = &runtime.version else { return Ok(Backend::Native) };
    if has.iter().any(|found| fits(wanted, &found.version)) {
        return Ok(Backend::Native);
    }
    let versions: Vec<&str> = has.iter().map(|found| found.version.as_str()).collect();
    let short: Vec<&str> = versions[0].split('.').take(2).collect();
    let image = image_of(runtime).unwrap_or_default();
    let way_out = format!(
        "write `version: \"{}\"`, leave it out, or give the container engine the image {image}",
        short.join(".")
    );
    Err(at("version", format!("this host has {language} {}, not {wanted}", versions.join(" and ")), way_out))
}

/// `3.11` is any `3.11.x`.
fn fits(wanted: &str, has: &str) -> bool {
    wanted.split('.').zip(has.split('.')).all(|(wanted, has)| wanted == has)
        && wanted.split('.').count() <= has.split('.').count()
}

fn container(runtime: &Runtime, host: &Host) -> Result<Backend, Problem> {
    let field = if runtime.image.is_some() { "image" } else { "isolation" };
    let Some(image) = image_of(runtime) else {
        return Err(at(
            "isolation",
            "a container is run from an image, and none is named",
            "add `image`, or `language`",
        ));
    };
    match &host.engine {
        Engine::Absent { why } => {
            let way_out = "start Docker or Podman where the worker may reach its socket, or use `isolation: native`";
            Err(at(field, format!("no container engine answers: {why}"), way_out))
        }
        Engine::Present { images, .. } if images.iter().any(|known| same_image(known, &image)) => {
            Ok(Backend::Container { image })
        }
        Engine::Present { name, .. } => {
            let reason = format!("{name} does not hold the image {image}");
            Err(at(field, reason, format!("run `{name} pull {image}`; nothing is pulled unasked")))
        }
    }
}

/// The image that the manifest names, or the official one of its language.
fn image_of(runtime: &Runtime) -> Option<String> {
    if let Some(image) = &runtime.image {
        return Some(image.clone());
    }
    let language = runtime.language.as_deref()?;
    let official = match language {
        "go" => "golang",
        "java" => "eclipse-temurin",
        other => other,
    };
    Some(format!("{official}:{}", runtime.version.as_deref().unwrap_or("latest")))
}

/// Engines show the same image under a short name, or with their registry before it.
fn same_image(known: &str, wanted: &str) -> bool {
    let plain = |name: &str| {
        let name = ["docker.io/library/", "docker.io/", "localhost/"]
            .into_iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name);
        let tagged = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if tagged { name.to_owned() } else { format!("{name}:latest") }
    };
    plain(known) == plain(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(engine: Engine) -> Host {
        let python = Toolchain { language: "python".into(), version: "3.11.7".into() };
        Host { toolchains: vec![python], engine, ..Host::default() }
    }

    fn present(images: &[&str]) -> Engine {
        let images = images.iter().map(|image| (*image).to_owned()).collect();
        Engine::Present { name: "docker".into(), version: "1".into(), images, guards: Vec::new() }
    }

    fn backend(runtime: &str, engine: Engine) -> Result<Backend, String> {
        let text = format!(
            "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: a}}\nspec: {{task: {{instruction: x}}, runtime: {runtime}}}\n"
        );
        let manifest = Manifest::parse(&text).unwrap();
        manifest.backend(&host(engine)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_language_is_the_hosts_own_where_the_version_fits_else_an_image_that_is_there_else_refused() {
        assert_eq!(backend("{language: python, version: '3.11'}", Engine::default()), Ok(Backend::Native));
        let newer = "{language: python, version: '3.12'}";
        let refused = backend(newer, Engine::default()).unwrap_err();
        assert!(refused.contains("3.11.7") && refused.contains("python:3.12"), "{refused}");
        let image = Backend::Container { image: "python:3.12".into() };
        assert_eq!(backend(newer, present(&["docker.io/library/python:3.12"])), Ok(image));
        assert!(backend("{language: pithon}", Engine::default()).unwrap_err().contains("python"));
    }

    #[test]
    fn a_container_wants_an_engine_and_its_image_there() {
        let absent = backend("{isolation: docker, image: tools}", Engine::default()).unwrap_err();
        assert!(absent.contains("no container engine answers"), "{absent}");
        let missing = backend("{isolation: docker, image: tools}", present(&["other:1"])).unwrap_err();
        assert!(missing.contains("docker pull tools"), "{missing}");
        let image = Backend::Container { image: "tools".into() };
        assert_eq!(backend("{image: tools}", present(&["localhost/tools:latest"])), Ok(image));
        assert!(backend("{isolation: docker}", present(&[])).unwrap_err().contains("image"));
        assert!(backend("{isolation: native, image: tools}", present(&["tools"])).is_err());
    }
}
