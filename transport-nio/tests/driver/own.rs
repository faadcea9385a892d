//! What is true of the driver on mio alone.
