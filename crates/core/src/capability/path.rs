//! A path as an agent names it, made into the one that a judge sees and the sandbox opens. Lexical: nothing here may look at
//! a file system, so a link in the path is met later, and judged again.

/// The folder that relative paths are below.
pub const WORK_FOLDER: &str = "/workspace";

/// Absolute and without `.`, `..` and doubled slashes; none where it holds a NUL.
pub fn judged(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { WORK_FOLDER };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
