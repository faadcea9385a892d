//! What every driver must do, and what only this one must, on tokio.

#[path = "../../../transport/tests/every_driver/mod.rs"]
mod every_driver;

mod disturbed;
mod own;

use std::sync::{Arc, LazyLock};

use homing_transport::{Driver, Engine, Transport};
use homing_transport_tokio::Tokio;
use tokio::runtime::{Builder, Runtime};

use crate::disturbed::DisturbedDial;
use crate::every_driver::Backend;
use crate::every_driver::plan::Plan;

struct OnTokio;

/// Some tests block it while they dial, so it has threads to spare.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().unwrap()
});

impl Backend for OnTokio {
    fn start(&self, plan: Plan, engine: Box<dyn Engine>) -> Arc<dyn Driver> {
        let _here = RUNTIME.enter();
        let transport = Tokio::with_dial(DisturbedDial(plan));
        transport.start(engine).unwrap()
    }
}

every_driver::every_driver!(OnTokio);
