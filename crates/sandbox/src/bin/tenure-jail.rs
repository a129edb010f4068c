//! The jail program by itself, for this crate's tests and examples. The shipped one is `tenure` under another name.

fn main() {
    tenure_sandbox::jail_main()
}
