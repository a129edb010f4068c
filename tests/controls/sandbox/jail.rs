//! The jail program of the controls' own tests: a jail of it can lack a layer. Never shipped.

fn main() {
    tenure_sandbox_controls::jail_main()
}
