//! Everything that must hold before weights are loaded, then the loading. A host that cannot run the model is told so in
//! one sentence, never by a crash or by the kernel's out-of-memory killer.

use std::fs::{self, File};
use std::io::Read;
use std::num::NonZeroU32;
use std::path::Path;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use tenure_wire::local::LoadFailure;

use crate::engine::CHUNK_TOKENS;
use crate::slots::SLOTS_MAX;

/// Smallest file taken for weights; the smallest useful model is fifty times that.
const FILE_BYTES_MIN: u64 = 1 << 20;
/// Beside weights and state: work buffers and the program, in bytes.
const WORK_BYTES: u64 = 350 << 20;

/// Why there is no model, for people.
#[derive(Debug)]
pub(crate) struct Unloadable {
    pub(crate) kind: LoadFailure,
    pub(crate) message: String,
}

impl Unloadable {
    fn file(path: &Path, message: impl std::fmt::Display) -> Self {
        Self { kind: LoadFailure::File, message: format!("model file {}: {message}", path.display()) }
    }
}

/// Loads the weights, mapped from the file where the engine uses them as they are.
///
/// # Errors
/// [`Unloadable`] as its kinds say.
pub(crate) fn model(backend: &LlamaBackend, path: &Path) -> Result<LlamaModel, Unloadable> {
    processor()?;
    let bytes = file(path)?;
    memory(bytes)?;
    let model = LlamaModel::load_from_file(backend, path, &LlamaModelParams::default().with_use_mmap(true));
    let model = model.map_err(|e| {
        Unloadable::file(
            path,
            format_args!("the engine cannot load it ({e}); it may be cut or of an unknown architecture"),
        )
    })?;
    if model.is_recurrent() || model.is_hybrid() {
        return Err(Unloadable::file(path, "a recurrent model: its state cannot be cut back to a common beginning"));
    }
    Ok(model)
}

/// Makes the working context of `tokens` on `threads`.
///
/// # Errors
/// [`LoadFailure::Memory`] when it cannot be made.
pub(crate) fn context<'m>(
    backend: &LlamaBackend,
    model: &'m LlamaModel,
    tokens: NonZeroU32,
    threads: i32,
) -> Result<LlamaContext<'m>, Unloadable> {
    let chunk = u32::try_from(CHUNK_TOKENS).expect("invariant: a chunk is small");
    let params = LlamaContextParams::default()
        .with_n_ctx(Some(tokens))
        .with_n_batch(chunk)
        .with_n_ubatch(chunk)
        .with_n_seq_max(u32::try_from(SLOTS_MAX).expect("invariant: slots are few"))
        .with_kv_unified(true)
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    model.new_context(backend, params).map_err(|e| Unloadable {
        kind: LoadFailure::Memory,
        message: format!("no room for a context of {tokens} tokens ({e}); try a smaller --context"),
    })
}

fn file(path: &Path) -> Result<u64, Unloadable> {
    let mut magic = [0; 4];
    let mut opened = File::open(path).map_err(|e| Unloadable::file(path, e))?;
    let bytes = opened.metadata().map_err(|e| Unloadable::file(path, e))?.len();
    opened.read_exact(&mut magic).map_err(|e| Unloadable::file(path, e))?;
    if &magic != b"GGUF" {
        return Err(Unloadable::file(path, "not a GGUF file: its first four bytes are others"));
    }
    if bytes < FILE_BYTES_MIN {
        return Err(Unloadable::file(path, format_args!("only {bytes} bytes; the download was cut")));
    }
    Ok(bytes)
}

/// The engine keeps most weights a second time in a faster layout, so they count once in full.
fn memory(weights_bytes: u64) -> Result<(), Unloadable> {
    let Some(free) = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_bytes(&text)) else {
        return Ok(());
    };
    let needed = weights_bytes + WORK_BYTES;
    if free < needed {
        let message = format!(
            "the model needs about {} MiB of memory and {} MiB are free; stop other programs or choose a smaller model",
            needed >> 20,
            free >> 20
        );
        return Err(Unloadable { kind: LoadFailure::Memory, message });
    }
    Ok(())
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the engine was compiled to use: by default what processors have since 2013, and more where whoever built it asked
/// for that through these variables. On a processor without, it would die of an illegal instruction.
#[cfg(target_arch = "x86_64")]
fn processor() -> Result<(), Unloadable> {
    const ASKED: fn(Option<&str>) -> bool = |value| value.is_some_and(|v| v.eq_ignore_ascii_case("on"));
    let has = std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
        && std::is_x86_feature_detected!("bmi2");
    let has_512 = std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512cd")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512bw");
    let lacking: Vec<&str> = [
        ("AVX2, FMA, F16C or BMI2", true, has),
        ("AVX-512", ASKED(option_env!("GGML_AVX512")), has_512),
        ("AVX512-VNNI", ASKED(option_env!("GGML_AVX512_VNNI")), std::is_x86_feature_detected!("avx512vnni")),
        ("AVX512-VBMI", ASKED(option_env!("GGML_AVX512_VBMI")), std::is_x86_feature_detected!("avx512vbmi")),
        ("AVX512-BF16", ASKED(option_env!("GGML_AVX512_BF16")), std::is_x86_feature_detected!("avx512bf16")),
        ("AVX-VNNI", ASKED(option_env!("GGML_AVX_VNNI")), std::is_x86_feature_detected!("avxvnni")),
    ]
    .into_iter()
    .filter_map(|(name, used, there)| (used && !there).then_some(name))
    .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!(
        "this processor lacks {}, which this build uses; build the program on this machine or use a remote model",
        lacking.join(", ")
    );
    Err(Unloadable { kind: LoadFailure::Processor, message })
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> Result<(), Unloadable> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_is_no_model_is_told_apart_from_a_cut_one() {
        let mut page = tempfile::NamedTempFile::new().unwrap();
        page.write_all(b"<!doctype html>").unwrap();
        assert!(file(page.path()).unwrap_err().message.contains("not a GGUF file"));
        let mut cut = tempfile::NamedTempFile::new().unwrap();
        cut.write_all(b"GGUF\x03").unwrap();
        assert!(file(cut.path()).unwrap_err().message.contains("cut"));
        assert_eq!(file(Path::new("/nowhere/model")).unwrap_err().kind, LoadFailure::File);
    }

    #[test]
    fn weights_larger_than_free_memory_are_refused_with_both_numbers() {
        assert_eq!(available_bytes("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        let refused = memory(1 << 50).unwrap_err();
        assert_eq!(refused.kind, LoadFailure::Memory);
        assert!(refused.message.contains("1073742174 MiB"), "{}", refused.message);
    }
}
