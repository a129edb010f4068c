//! The jail program by itself, built so that a jail can lack a layer. Never shipped.

fn main() {
    tenure_sandbox_controls::jail_main()
}
