//! What every driver must do, and what only this one must, on mio.

#[path = "../../../transport/tests/every_driver/mod.rs"]
mod every_driver;

mod disturbed;
mod own;

use std::sync::Arc;

use homing_transport::{Driver, Engine, Transport};
use homing_transport_nio::Nio;

use crate::disturbed::DisturbedDial;
use crate::every_driver::Backend;
use crate::every_driver::plan::Plan;

struct OnMio;

impl Backend for OnMio {
    fn start(&self, plan: Plan, engine: Box<dyn Engine>) -> Arc<dyn Driver> {
        let transport = Nio::with_dial(DisturbedDial(plan));
        transport.start(engine).unwrap()
    }
}

every_driver::every_driver!(OnMio);
