//! The development binary: the product without a brand. What is shipped is built by `cargo xtask build`.

use std::process::ExitCode;

use disco::{Appliance, Brand};

fn main() -> ExitCode {
    Appliance::new(Brand::UNBRANDED).run()
}
