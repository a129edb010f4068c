//! The weights that can be pulled for the local model, each pinned by size and checksum to what its maker published.

/// One file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// The name behind `local/`.
    pub name: &'static str,
    /// Another word for it, if any.
    pub alias: Option<&'static str>,
    pub title: &'static str,
    pub file: &'static str,
    /// SPDX identifier of the weights' licence.
    pub licence: &'static str,
    pub bytes: u64,
    /// In hex.
    pub sha256: &'static str,
    /// Tried in this order.
    pub sources: &'static [&'static str],
}

/// The word that means the first entry.
pub const DEFAULT: &str = "local-default";

pub const WEIGHTS: [Weights; 2] = [
    Weights {
        name: "qwen2.5-coder-1.5b",
        alias: Some(DEFAULT),
        title: "Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        licence: "Apache-2.0",
        bytes: 1_117_320_768,
        sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        sources: &[concat!(
            "https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/",
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
        )],
    },
    Weights {
        name: "qwen2.5-coder-0.5b",
        alias: None,
        title: "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        licence: "Apache-2.0",
        bytes: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        sources: &[concat!(
            "https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/",
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
        )],
    },
];

/// The entry of a name or alias.
pub fn find(word: &str) -> Option<&'static Weights> {
    WEIGHTS.iter().find(|weights| weights.name == word || weights.alias == Some(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_can_be_found_checked_and_fetched() {
        assert_eq!(find(DEFAULT), Some(&WEIGHTS[0]));
        for weights in &WEIGHTS {
            assert_eq!(find(weights.name), Some(weights));
            assert_eq!(weights.sha256.len(), 64);
            assert!(weights.sources.iter().all(|url| url.starts_with("https://") && url.ends_with(weights.file)));
        }
    }
}
