//! The end of what runs until it is interrupted.

use std::process;
use std::sync::mpsc::{self, Receiver};

/// The exit code of a program that was interrupted twice, as a shell has it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// What tells that Ctrl-C was pressed, or that SIGTERM came.
pub(crate) fn interrupted() -> Result<Receiver<()>, String> {
    let (interrupt, interrupted) = mpsc::channel();
    on_interrupt(move || {
        let _ = interrupt.send(());
    })?;
    Ok(interrupted)
}

/// Lets something be told when Ctrl-C is pressed, or SIGTERM comes. The next one ends the program
/// at once, whatever it is waiting for.
pub(crate) fn on_interrupt(tell: impl Fn() + Send + 'static) -> Result<(), String> {
    let mut is_told = false;
    ctrlc::set_handler(move || {
        if is_told {
            process::exit(INTERRUPTED);
        }
        is_told = true;
        tell();
    })
    .map_err(|error| format!("cannot wait for an interrupt: {error}"))
}
