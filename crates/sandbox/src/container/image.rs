//! What an image brings along that matters for a jail: its environment and its volumes. Must never: pull one.

use std::collections::BTreeMap;

use bollard::models::ImageInspect;

use crate::spec::{PATH, Spec};

/// Variables that are a jail's own, whatever the image says.
const OURS: [&str; 6] = ["HOME", "USER", "LOGNAME", "TMPDIR", "HOSTNAME", "PWD"];
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "node_use_env_proxy"];

/// One image that the engine holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) id: String,
    /// As in `amd64`.
    pub(crate) architecture: Option<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Folders that the engine would make writable and keep on disk, with nobody to bound them.
    pub(crate) volumes: Vec<String>,
    /// Whether the engine would run a check of the image's own in it.
    pub(crate) is_checked: bool,
}

impl Image {
    pub(crate) fn of(found: ImageInspect, name: &str) -> Self {
        let config = found.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let pair = |entry: &String| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            id: found.id.unwrap_or_else(|| name.to_owned()),
            architecture: found.architecture.filter(|name| !name.is_empty()),
            env: env.iter().filter_map(pair).collect(),
            volumes: config.volumes.unwrap_or_default(),
            is_checked: config.healthcheck.is_some(),
        }
    }

    /// The environment of programs: the image's, then what the spec adds. Both search paths count, the image's first.
    pub(crate) fn environment(&self, spec: &Spec) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (name, value) in &self.env {
            let proxy = spec.egress && PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
            if !name.is_empty() && !OURS.contains(&name.as_str()) && !proxy {
                all.insert(name.clone(), value.clone());
            }
        }
        let theirs = all.get("PATH").map_or("", String::as_str).to_owned();
        let missing = PATH.split(':').filter(|folder| !theirs.split(':').any(|known| known == *folder));
        let path: Vec<&str> = theirs.split(':').filter(|folder| !folder.is_empty()).chain(missing).collect();
        all.insert("PATH".to_owned(), path.join(":"));
        all.extend(spec.env.clone());
        all
    }

    /// What the jail program must not read of the image's variables: they would change how its loader works.
    pub(crate) fn silenced(&self) -> Vec<String> {
        let names = self.env.iter().map(|(name, _)| name);
        let loader = |name: &&String| ["LD_", "GLIBC_", "MALLOC_"].iter().any(|prefix| name.starts_with(prefix));
        names.filter(loader).map(|name| format!("{name}=")).collect()
    }
}

/// The names under which an engine may hold what a manifest calls `name`: engines show a registry, or leave it out.
pub(crate) fn candidates(name: &str) -> Vec<String> {
    const REGISTRIES: [&str; 3] = ["docker.io/library/", "docker.io/", "localhost/"];
    let plain = REGISTRIES.into_iter().find_map(|registry| name.strip_prefix(registry)).unwrap_or(name);
    let mut names = vec![name.to_owned(), plain.to_owned()];
    names.extend(REGISTRIES.map(|registry| format!("{registry}{plain}")));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Identity;

    fn image(env: &[(&str, &str)]) -> Image {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Image { env, ..Image::default() }
    }

    #[test]
    fn programs_get_the_images_variables_but_not_its_home_and_the_spec_wins() {
        let mut spec = Spec::new("/work", Identity::Caller);
        spec.env.insert("GOFLAGS".into(), "-mod=vendor".into());
        let image = image(&[
            ("PATH", "/usr/local/go/bin:/usr/bin"),
            ("HOME", "/root"),
            ("GOFLAGS", "x"),
            ("GOPATH", "/go"),
            ("HTTP_PROXY", "http://elsewhere"),
        ]);
        let env = image.environment(&spec);
        assert!(env["PATH"].starts_with("/usr/local/go/bin:/usr/bin:/usr/local/bin:/bin"), "{}", env["PATH"]);
        assert_eq!(env.get("HOME"), None);
        assert_eq!((env["GOFLAGS"].as_str(), env["GOPATH"].as_str()), ("-mod=vendor", "/go"));
        assert!(env.contains_key("HTTP_PROXY"), "without egress it is a variable like others");
        spec.egress = true;
        assert!(!image.environment(&spec).contains_key("HTTP_PROXY"));
    }

    #[test]
    fn what_would_steer_the_loader_is_silenced_for_the_jail_and_kept_for_programs() {
        let image = image(&[("LD_PRELOAD", "/evil.so"), ("LD_LIBRARY_PATH", "/opt/lib"), ("LANG", "C")]);
        assert_eq!(image.silenced(), ["LD_PRELOAD=", "LD_LIBRARY_PATH="]);
        assert_eq!(image.environment(&Spec::new("/work", Identity::Caller))["LD_LIBRARY_PATH"], "/opt/lib");
    }

    #[test]
    fn an_image_is_looked_for_with_and_without_its_registry() {
        assert!(candidates("tools:1").contains(&"localhost/tools:1".to_owned()));
        assert!(candidates("docker.io/library/python:3.12").contains(&"python:3.12".to_owned()));
    }
}
