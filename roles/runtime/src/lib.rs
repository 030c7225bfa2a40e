//! The shell every role shares: configuration, logging, signals, tasks, drain.
