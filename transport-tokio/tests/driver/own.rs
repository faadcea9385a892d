//! What is true of the driver on tokio alone.
