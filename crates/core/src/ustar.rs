//! The head of one entry of a tar (POSIX.1, ustar): of packages, and of folders that people fetch. It knows no entry's content.

/// Heads, and contents with what fills them up, are multiples of so many bytes.
pub const BLOCK: usize = 512;
pub const NAME_BYTES: usize = 100;
pub const PREFIX_BYTES: usize = 155;
/// What the octal fields of sizes and times hold.
pub const NUMBER_MAX: u64 = 0o77_777_777_777;

/// What a head says.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// At most [`PREFIX_BYTES`]; what is beyond is not written, here as in `name`.
    pub prefix: &'a str,
    /// At most [`NAME_BYTES`].
    pub name: &'a str,
    /// `0` of a file, `5` of a folder, `x` of a pax record.
    pub kind: u8,
    pub mode: u32,
    /// At most [`NUMBER_MAX`], as is the time.
    pub size: u64,
    pub modified_s: u64,
}

impl Entry<'_> {
    pub fn head(&self) -> [u8; BLOCK] {
        let mut head = [0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name.as_bytes()[..self.name.len().min(NAME_BYTES)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.size.min(NUMBER_MAX)).as_bytes());
        put(136, format!("{:011o}\0", self.modified_s.min(NUMBER_MAX)).as_bytes());
        // The sum is made as if it were spaces itself.
        put(148, b"        ");
        put(156, &[self.kind]);
        put(257, b"ustar\x0000");
        put(345, &self.prefix.as_bytes()[..self.prefix.len().min(PREFIX_BYTES)]);
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        head
    }
}
