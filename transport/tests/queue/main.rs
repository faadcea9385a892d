//! What the queue promises, one behaviour per test, in virtual time.
#![cfg(not(loom))]

mod deadlines;
mod doorbell;
mod end;
mod era;
mod handing_over;
mod model;
mod order;
mod room;
mod support;
