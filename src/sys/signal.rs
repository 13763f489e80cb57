use rustix::process::Signal;

/// `SIG_IGN` of signal(2), the same number on every architecture of Linux.
const IGNORE: usize = 1;

#[expect(unsafe_code, reason = "signal(2) has no safe form")]
// SAFETY: this is its declaration in the C library, with the handler as the number that it may be.
unsafe extern "C" {
    /// signal(2) of the C library that the standard library links anyway; no crate in use has it.
    fn signal(number: i32, handler: usize) -> usize;
}

/// Lets requests to end pass by this process. Who watches over a child must be the last to go, or nobody cleans up after
/// it; a service manager that stops a whole control group sends SIGTERM to everyone in it.
///
/// To be called after the child was started: what is ignored stays so across execve(2), and a build step that cannot be
/// terminated would be a nuisance.
pub(super) fn ignore_termination() {
    for number in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        // SAFETY: SIG_IGN runs no code in this process, and the numbers are signals that may be ignored (signal(7)). The
        // call cannot fail for them, and what it returns is the former handler, which nobody wants back.
        #[expect(unsafe_code, reason = "signal(2) has no safe form")]
        unsafe {
            signal(number.as_raw(), IGNORE);
        }
    }
}
