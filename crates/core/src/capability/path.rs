//! The path that a call names, in the one form that is judged and opened: absolute inside the jail, resolved by its text alone.
//! Daemon and worker both resolve by this function. Must never: look at a file system; what a link changes is found when the
//! path is opened, and judged again.

/// What relative paths of calls are below.
pub const WORKSPACE: &str = "/workspace";
/// Longest path, in bytes, before and after it is resolved.
pub const PATH_BYTES_MAX: usize = 4096;

/// The absolute path that `path` names for somebody in `cwd`: without `.`, `..` and empty parts, and never above `/`.
/// None for what names nothing: an empty or overlong text, or one with a zero byte.
pub fn judged(path: &str, cwd: &str) -> Option<String> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return None;
    }
    let start = if path.starts_with('/') { "" } else { cwd };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    let resolved = format!("/{}", parts.join("/"));
    (resolved.len() <= PATH_BYTES_MAX).then_some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_path_has_one_form() {
        for (path, expected) in [
            ("a", "/workspace/a"),
            ("./a//b/.", "/workspace/a/b"),
            ("a/", "/workspace/a"),
            (".", "/workspace"),
            ("a/../b", "/workspace/b"),
            ("..", "/"),
            ("../../../../etc/passwd", "/etc/passwd"),
            ("/workspace/../workspace/a", "/workspace/a"),
            ("//data///x", "/data/x"),
            ("/", "/"),
            ("/..", "/"),
            ("...", "/workspace/..."),
            ("a b/ü", "/workspace/a b/ü"),
        ] {
            assert_eq!(judged(path, WORKSPACE).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_names_nothing_has_no_form() {
        for path in ["", "a\0b", "\0", &"x".repeat(PATH_BYTES_MAX + 1), &"x".repeat(PATH_BYTES_MAX)] {
            assert_eq!(judged(path, WORKSPACE), None);
        }
    }

    proptest! {
        #[test]
        fn a_resolved_path_is_absolute_plain_and_its_own_form(path in "[a./ ]{1,40}") {
            let resolved = judged(&path, WORKSPACE).unwrap();
            prop_assert!(resolved.starts_with('/'));
            prop_assert!(resolved == "/" || resolved[1..].split('/').all(|part| !matches!(part, "" | "." | "..")));
            prop_assert_eq!(judged(&resolved, WORKSPACE), Some(resolved.clone()));
        }
    }
}
