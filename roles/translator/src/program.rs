//! The program: that of the mining proxy, with a configuration of its own.

use stratum_mining_proxy::{ProgramConfig, run};
use stratum_runtime::config::ConfigArgs;
use stratum_runtime::{ProgramError, run_program};

use crate::RawConfig;

/// The name under which the program is configured, as in `STRATUM_TRANSLATOR__LISTEN__ADDRESS`.
pub const ROLE: &str = "translator";

/// The whole program, as its arguments say.
///
/// # Errors
/// [`ProgramError`], whose message says what to do.
pub fn main(args: &ConfigArgs) -> Result<(), ProgramError> {
    run_program::<RawConfig, _, _, _>(
        ROLE,
        args,
        |config: &ProgramConfig| &config.program,
        |config| run::<RawConfig>(ROLE, config, args.clone()),
    )
}
